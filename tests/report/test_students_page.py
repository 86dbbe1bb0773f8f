"""The page of students: what was made of which teacher, how it learned, which instances counted, and comparisons."""

import json
import re

import numpy as np
import pytest

from refluence import report
from refluence.report import charts, learning, scores, student, students, weighed
from refluence.report.reading import read_unit
from report import fabricate_students
from report.test_page import Outline


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("students")
    made = {
        "joint": fabricate_students.student(root / "joint"),
        "kd": fabricate_students.student(root / "kd", "kd"),
        "scratch": fabricate_students.student(root / "scratch", "scratch", noisy=False),
        "texts": fabricate_students.student(root / "texts", "student", texts=True),
        "compare": fabricate_students.compare(root / "compare"),
    }
    for folder in made.values():
        report.write(folder)
    return made


@pytest.fixture(scope="module")
def outlines(folders):
    return {name: Outline((folder / "report.html").read_text(encoding="utf-8")) for name, folder in folders.items()}


@pytest.mark.parametrize("kind", ["joint", "kd", "scratch", "texts", "compare"])
def test_the_page_is_whole_and_speaks_of_students(outlines, kind):
    outline = outlines[kind]
    assert outline.open == []
    assert not {"script", "iframe", "object"} & {tag for tag, _ in outline.tags}
    assert not re.search(r"\b(nan|NaN|None|null|inf|undefined)\b", outline.text.partition("The complete configuration")[0])
    for word in ("distilled", "Images per class", "images per class", "Nets", "image step"):
        assert word not in outline.text, word
    ids = [attrs["id"] for tag, attrs in outline.tags if tag in ("h1", "section")]
    ends = ["first", "influence", "instances"] if kind in ("joint", "compare") else ["first", "influence"] * (kind == "texts")
    beginning = ["verdict", "table"] if kind == "compare" else ["verdict", "table", "made", "classes"]
    noted = ["notes"] * (kind == "compare")  # the cards of the others have none
    assert ids == [*beginning, "curves", "weights", *ends, *noted, "configuration"]


def test_what_was_made_stands_first(folders, outlines):
    text = outlines["joint"].text
    entry = json.loads((folders["joint"] / "evaluation.json").read_text())["evaluations"][0]
    worst = entry["worst_class"]
    assert f"the student is right on 95.2 % of the test split, in its worst class ({worst['class']}) on" in text
    assert "its teacher is right on 97.5 %." in text
    for words in (
        "convnet1, width 128, instance norm: 80 000 parameters",
        "convnet1, width 8, instance norm: 2 570 parameters",
        "31.1 times fewer parameters than the teacher",
        "Teacher and student learn side by side.",
        "made wrong on purpose (symmetric:0.2)",
        "200 instances",
    ):
        assert words in text, words
    assert f"Worst: {worst['class']}, {worst['accuracy']:.1f} %." in text
    assert "without a teacher" in outlines["scratch"].text
    assert "its teacher is" not in outlines["scratch"].text


def test_of_many_classes_the_worst_are_shown(tmp_path):
    many = [f"name {place}" for place in range(30)]
    shown = student.classes(read_unit(fabricate_students.student(tmp_path / "u", classes=many, rows=90)))
    assert "Shown are the 20 worst of 30 classes." in shown.words
    assert student.classes(read_unit(fabricate_students.student(tmp_path / "v", without=("evaluation",)))) is None


def test_theorem_1_is_said_on_both_halves_once_a_scoring(folders, tmp_path):
    unit = read_unit(folders["joint"])
    gains = list(dict.fromkeys(entry["gain_watching"] for entry in unit.metrics if entry["gain_watching"] is not None))
    below = sum(gain < 0 for gain in gains)
    assert f"lowered the risk more at {below} of {len(gains)} scorings" in learning.helped([unit])
    headings = [figure.heading for figure in learning.figures([unit], {}, compare=False)]
    assert headings == [
        "Loss",
        "Accuracy while it learned",
        "Do the weights help the next step?",
        "How many instances count",
        "Weights and loss",
        "Distance from equal weights",
        "Worst-case risk",
    ]
    gain = next(each for each in learning.figures([unit], {}, compare=False) if each.heading == learning.HELP)
    assert "nearly certain" in gain.words
    assert [figure.heading for figure in learning.figures([read_unit(folders["kd"])], {}, compare=False)] == headings[:2]
    bare = fabricate_students.student(tmp_path / "bare", without=("metrics",))
    assert learning.figures([read_unit(bare)], {}, compare=False) == []


def test_curves_go_over_epochs(folders):
    unit = read_unit(folders["joint"])
    points = learning._over([unit], "loss", learning._along([unit]))
    assert points[0][0] == pytest.approx(1 / 3)
    assert points[-1][0] == pytest.approx(5)


def test_runs_without_epochs_go_over_their_share_of_the_run(tmp_path):
    folder = fabricate_students.student(tmp_path / "u", "semi+influence")
    (folder / "scores.parquet").unlink()
    lines = [{"step": n, "loss": 1.0 - n / 10, "teacher_loss": 2.0, "sure": 0.5 + n / 10, "ess": 0.9} for n in range(4)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    card = json.loads((folder / "student" / "card.json").read_text())
    card |= {"unlabelled": 1195, "pseudo": {"share": 0.94, "accuracy": 98.93}}
    (folder / "student" / "card.json").write_text(json.dumps(card))
    text = Outline(report.write(folder).read_text(encoding="utf-8")).text
    assert "share of the run" in text
    assert "1 195 instances; the teacher is sure enough of 94.0 %, and right on 98.9 % of these" in text
    assert "Pseudo-labels that count" in text
    assert "Worst-case risk" not in text
    assert "those of single instances were not kept" in text
    assert "Mean weight, pseudo-label wrong" in text
    assert "Mean weight, label wrong" not in text


def test_the_criterion_is_a_yes_or_a_no():
    right, wrong = np.array([1.0, 1.2]), np.array([0.4, 0.8])
    yes = weighed.criterion({weighed.RIGHT: right, weighed.WRONG: wrong})
    assert yes.startswith(
        "Do instances whose label is wrong weigh less than the others? Yes: 0.60 on average, the others 1.10."
    )
    assert "others 1.10. KD-AIF" in yes
    assert "values, whose mean over all is 0.85, and the loss divides by it" in yes
    assert "? No: 1.10" in weighed.criterion({weighed.RIGHT: wrong, weighed.WRONG: right})
    low = weighed.criterion({weighed.RIGHT: wrong / 2, weighed.WRONG: wrong})
    assert "? No: 0.60 on average, the others 0.30." in low, "less than 1, as all are"
    assert weighed.criterion({weighed.ALL: right}) == ""


def test_weights_of_right_and_wrong_instances(folders, outlines, tmp_path):
    found = weighed.section(read_unit(folders["joint"]), compare=False)
    facts = dict(found.facts)
    assert facts["Label known to be wrong"] == "40 (20.0 %)"
    assert float(facts["Mean weight, label wrong"]) < 1 < float(facts["Lowest, highest weight"].split(", ")[1])
    assert float(facts["Wrong ones weigh less (AUC)"]) > 0.9
    tile = next(tile for tile in found.scores.first if tile.stored)
    assert tile.stored == f"→ {tile.words.partition('stored: ')[2]}"
    assert tile.given != tile.stored.removeprefix("→ ")
    assert "weigh less than the others? Yes" in outlines["joint"].text
    unknown = weighed.section(read_unit(fabricate_students.student(tmp_path / "u", noisy=False)), compare=False)
    assert unknown.criterion == ""
    assert list(dict(unknown.facts)) == ["Weighted", "Effective sample size", "Weigh less than 1", "Lowest, highest weight"]
    assert weighed.section(read_unit(folders["kd"]), compare=False) is None


def test_weights_of_pseudo_labels_are_called_so(tmp_path):
    unit = read_unit(fabricate_students.student(tmp_path / "u", "semi+influence"))
    found = weighed.section(unit, compare=False)
    assert "Mean weight, pseudo-label wrong" in dict(found.facts)
    assert found.criterion.startswith("Do instances whose pseudo-label is wrong weigh less than the others?")
    assert "Weight, label wrong" in students.columns({"rows": [{"arm": "kd+influence", "noisy_weight": 1.0}]})
    rows = [{"arm": "scratch"}, {"arm": "semi+influence", "noisy_weight": 1.0, "clean_weight": 1.1}]
    assert list(students.columns({"rows": rows})) == ["Weight, pseudo-label wrong", "Weight, pseudo-label right"]
    assert weighed.label_of(["joint", "semi"]) == "label or pseudo-label"


def test_texts_are_shown_as_texts(folders, outlines):
    found = weighed.section(read_unit(folders["texts"]), compare=False)
    assert all(text.words.startswith("a text about ") for text in found.texts)
    assert len(found.texts) == 24
    assert "Source says" in outlines["texts"].text
    assert outlines["texts"].all("img") == []


def test_the_score_says_what_it_is_for_each_kind_of_weights(tmp_path):
    loss = weighed.section(read_unit(fabricate_students.student(tmp_path / "u", "kd+loss")), compare=False)
    assert loss.scores.words.lead == scores.SCORED["loss"]
    influence = weighed.section(read_unit(fabricate_students.student(tmp_path / "v", "joint+shuffled")), compare=False)
    assert "dM/dw" in influence.scores.words.lead


def test_a_comparison_has_the_worst_class_and_the_teacher(folders, outlines):
    text, page = outlines["compare"].text, (folders["compare"] / "report.html").read_text(encoding="utf-8")
    results = json.loads((folders["compare"] / "results.json").read_text())
    assert results["verdict"] in text
    assert "Accuracy on the worst class" in text
    assert "The dashed line is the accuracy of the teacher" in text
    tables = re.findall(r"<table.*?</table>", page, re.S)
    heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", tables[0])
    assert heads == [
        "Arm", "Accuracy, %", "n", "Difference, points [low, high]", "Worst class, %", "Teacher, %", "AUC",
        "Weight, label wrong", "Weight, label right", "ESS", "Time", "Peak memory", "Parameters",
    ]  # fmt: skip
    joint = next(row for row in re.findall(r"<tr.*?</tr>", tables[0], re.S) if ">joint<" in row)
    cells = [re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", joint, re.S)]
    assert cells[-6:-4] == ["0.60", "1.10"]
    assert "all arms of a seed begin with the same teacher" in text
    assert "The teachers that learn" in text
    by_arm = {line["Arm"]: line for line in weighed.table([read_unit(folders["joint"])])}
    assert by_arm["joint"]["Wrong ones weigh less"] == "yes"


def test_more_labels_are_explained(tmp_path):
    folder = fabricate_students.compare(tmp_path / "c", seeds=1, arms={"kd": 90.0, "kd:also=validation": 91.0})
    assert "so that weights do not win by seeing more labels" in Outline(report.write(folder).read_text(encoding="utf-8")).text


def test_a_teacher_that_learned_on_is_said_with_its_first_accuracy(tmp_path):
    folder = fabricate_students.student(tmp_path / "u")
    card = json.loads((folder / "student" / "card.json").read_text())
    card["teacher"] |= {"learned": {"accuracy_before": 96.0, "accuracy": 94.0, "stopped": True}}
    (folder / "student" / "card.json").write_text(json.dumps(card))
    text = Outline(report.write(folder).read_text(encoding="utf-8")).text
    assert "its teacher was right on 97.5 % before it learned on." in text
    assert "from 96.0 to 94.0 % of the validation instances that make no weights; it got worse, went back" in text


def test_a_comparison_without_a_student_yet(tmp_path):
    folder = fabricate_students.compare(tmp_path / "c", seeds=1, arms={"kd": 90.0})
    for name in ("results.json", "units/kd/0/evaluation.json", "units/kd/0/student/card.json"):
        (folder / name).unlink()
    text = Outline(report.write(folder).read_text(encoding="utf-8")).text
    assert "No verdict yet" in text
    assert "No weights of training instances are stored" in text


def test_a_run_that_is_not_finished(tmp_path):
    folder = fabricate_students.student(tmp_path / "u", without=("student", "evaluation", "scores", "metrics"))
    text = Outline(report.write(folder).read_text(encoding="utf-8")).text
    for words in ("is not evaluated yet", "No student is stored", "No accuracy of single classes", "No step of training"):
        assert words in text, words


def test_the_table_of_scores_has_a_page_of_its_own(folders):
    path = report.write_scores(folders["joint"] / "scores.parquet", {}, ["a", "b", "c", "d"], "joint")
    assert "joint" in Outline(path.read_text(encoding="utf-8")).text


def test_few_points_are_words_and_few_scorings_no_finding(tmp_path):
    folder = fabricate_students.student(tmp_path / "u")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(lines[2:4]))
    unit = read_unit(folder)
    assert learning.helped([unit]) == ""
    found = {figure.heading: figure for figure in learning.figures([unit], {}, compare=False)}
    assert found["Distance from equal weights"].finding == "χ² at the end: 0.11."
    assert found["Distance from equal weights"].chart == ""
    whole = learning.figures([read_unit(fabricate_students.student(tmp_path / "v"))], {}, compare=False)
    assert all(figure.chart for figure in whole)


def test_every_second_line_is_dashed_and_its_name_says_so():
    series = {name: [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)] for name in ("kd", "joint", "scratch")}
    drawn = charts.lines(series, dict.fromkeys(series, "#000000"), "epoch", "loss", "t", dashed=True)
    assert re.findall(r"</svg>([^<]*)</li>", drawn) == ["kd", "joint (dashed)", "scratch"]


def test_a_student_that_was_evaluated_twice_and_its_notes_and_digest(tmp_path):
    folder = fabricate_students.student(tmp_path / "u")
    first = json.loads((folder / "evaluation.json").read_text())["evaluations"][0]
    again = {**first, "source": "elsewhere", "accuracy": 90.0}
    (folder / "evaluation.json").write_text(json.dumps({"evaluations": [first, again]}))
    card = json.loads((folder / "student" / "card.json").read_text())
    card |= {"notes": ["a fifth was cut for test"], "teacher_sha256": "f" * 64}
    (folder / "student" / "card.json").write_text(json.dumps(card))
    lines = student.single(read_unit(folder))[1].lines
    assert [line.arm for line in lines[:2]] == ["student", "student, the same network evaluated again"]
    assert [line.cells["Data"] for line in lines[:2]] == ["shapes", "elsewhere"]
    text = Outline(report.write(folder).read_text(encoding="utf-8")).text
    assert "a fifth was cut for test" in text
    assert "SHA-256 ffffffffffff…" in text
