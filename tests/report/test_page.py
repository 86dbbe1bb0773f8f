"""The page holds every number of its folder, says what is absent, loads nothing and lets nobody inject."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from refluence import report
from refluence.errors import InputError
from refluence.report import charts
from refluence.report import page as page_module
from refluence.report.template import wrappable
from refluence.report.words import amount, duration, fixed, signed
from report import fabricate

KINDS = ["compare", "one seed", "unit", "hundred", "hostile", "terms", "cleaned", "bare"]
SAMPLED = ["sampled", "sampled sets", "denoiser"]
VOID = {"meta", "link", "img", "br", "path", "line", "circle", "rect"}


class Outline(HTMLParser):
    """Checks nesting; collects tags with their attributes, and the text outside of style."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text.replace("<wbr>", ""))  # where a word may go on in a new line is no end of it
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="session")
def outlines(folders):
    return {kind: Outline((folder / "report.html").read_text(encoding="utf-8")) for kind, folder in folders.items()}


@pytest.mark.parametrize("kind", [*KINDS, *SAMPLED])
def test_well_formed_and_self_contained(outlines, folders, kind):
    outline = outlines[kind]
    assert outline.open == []
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in outline.tags}
    for tag, attrs in outline.tags:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            assert (attrs.get(name) or "data:").startswith("data:"), (tag, name, attrs[name])
    style = re.search(r"<style>.*?</style>", (folders[kind] / "report.html").read_text(encoding="utf-8"), re.S)[0]
    assert "url(" not in style
    assert "@import" not in style
    assert all(attrs["alt"] for attrs in outline.all("img"))
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("kind", [*KINDS, *SAMPLED])
def test_no_unprintable_number(outlines, kind):
    assert not re.search(r"\b(nan|NaN|None|null|inf|Infinity|undefined)\b", outlines[kind].text)


@pytest.mark.parametrize("kind", ["compare", "one seed"])
def test_every_arm_and_number_of_a_comparison(outlines, folders, kind):
    text = outlines[kind].text
    results = json.loads((folders[kind] / "results.json").read_text())
    assert results["verdict"] in text
    assert all(note in text for note in results["notes"])
    for row in results["rows"]:
        for words in (row["arm"], fixed(row["accuracy"], 2), duration(row["seconds"]), amount(row["stored_bytes"])):
            assert words in text, (row, words)
    for row in results["summary"]:
        spread = f" ± {fixed(row['sd'])}" if row["sd"] is not None else ""
        assert f"{row['arm']} {fixed(row['mean'])}{spread} {row['n']}" in text, row
        if row["against"] and row["n"] > 1:
            interval = f"{signed(row['difference'])} [{fixed(row['low'])}, {fixed(row['high'])}] against {row['against']}"
            assert interval in text
            assert f"could show {fixed(row['smallest_shown'])}; {'p = 0.107' if row['primary'] else 'Holm p = 0.214'}" in text
        elif row["against"]:
            assert f"{signed(row['difference'])} no interval (n = 1) against {row['against']}" in text
    assert text.count("primary comparison") == 1


def test_table_rows(outlines, folders):
    page = (folders["compare"] / "report.html").read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", page, re.S)
    results = json.loads((folders["compare"] / "results.json").read_text())
    assert [table.count("<tr>") for table in tables] == [1 + 5, 1 + len(results["rows"])]


def test_numbers_of_a_unit(outlines, folders):
    evaluation = json.loads((folders["unit"] / "evaluation.json").read_text())["evaluations"][0]
    text = outlines["unit"].text
    for value in [*evaluation["accuracies"], *(evaluation[k] for k in ("accuracy", "balanced_accuracy", "macro_f1"))]:
        assert fixed(value) in text
    assert f"dc+influence: {fixed(evaluation['accuracy'])} % on the test split" in text


def test_accuracies_are_percent_however_small(tmp_path):
    folder = fabricate.unit(tmp_path / "unit", without=("metrics", "scores"))
    (folder / "evaluation.json").write_text('{"protocol": "dc", "split": "val", "accuracies": [0.5, 0.6], "accuracy": 0.55}')
    text = Outline(report.write(folder).read_text(encoding="utf-8")).text
    assert "0.6 % on the val split (protocol dc, 2 networks)" in text
    assert "0.6 ± 0.1" in text


def test_class_names_are_escaped_and_limits_are_said(outlines):
    outline = outlines["hostile"]
    assert "evil.example" in outline.text
    assert all(attrs["src"].startswith("data:image/") for attrs in outline.all("img"))
    assert "Shown are 10 of up to 12 images per class." in outline.text
    assert len(outline.all("img")) == 2 * 10 + 2 * 10
    assert "Shown are the first 20 of 100 classes." in outlines["hundred"].text


def test_names_of_arms_break_between_options():
    assert wrappable("dc+influence:tau=1,carry=.9") == "dc+influence:<wbr>tau=1,<wbr>carry=.9"
    assert wrappable("<b>,&") == "&lt;b&gt;,<wbr>&amp;"


def test_sections_keep_their_order(outlines):
    for kind in KINDS:
        ids = [attrs["id"] for tag, attrs in outlines[kind].tags if tag in ("h1", "section")]
        beforehand = ["cleaned"] if kind == "cleaned" else []
        assert ids == [
            "verdict", "table", *beforehand, "distilled", "influence", "instances", "over-time", "curves", "notes",
            "configuration",
        ]  # fmt: skip
    ids = [attrs["id"] for tag, attrs in outlines["sampled sets"].tags if tag == "section"]
    beside = ["noise", "influence-accuracy", "quality", "costs", "guidance"]
    assert ids == ["table", *beside, "distilled", "notes", "configuration"]


def test_what_is_absent_is_said(outlines, tmp_path):
    text = outlines["bare"].text
    sentences = [
        "not evaluated yet", "No image step of this folder recorded", "No evaluation is stored",
        "No scores of real instances", "no instances to show",
        "No image steps were recorded", "recorded unequal weights", "left no notes", "No configuration",
    ]  # fmt: skip
    for words in sentences:
        assert words in text, words
    folder = fabricate.unit(tmp_path / "unit", without=("distilled", "pictures"))
    without = Outline(report.write(folder).read_text(encoding="utf-8"))
    assert "No distilled images are stored" in without.text
    assert "Their pictures were not stored" in without.text
    assert "row 3" in without.text
    assert without.all("img") == []


def test_charts_are_named_and_deterministic(outlines, folders):
    charts = [a for a in outlines["compare"].all("svg") if a.get("role") == "img"]
    # accuracy, two of differences, histogram, scores per class, spread of the influence, loss, effective sample size
    assert len(charts) == 2 * 8
    assert all(len(attrs["aria-label"]) > 10 for attrs in charts)
    assert [attrs["class"] for attrs in charts].count("narrow") == 8
    before = (folders["compare"] / "report.html").read_bytes()
    assert report.write(folders["compare"]).read_bytes() == before
    assert len(before) < 1_000_000


def test_missing_values(tmp_path):
    folder = fabricate.compare(tmp_path / "compare", arms={"random": 60.0, "dc": 70.0}, seeds=2)
    results = json.loads((folder / "results.json").read_text())
    for row in results["rows"]:
        row.update(accuracy=None if row["seed"] == 0 else row["accuracy"], seconds=None, peak_bytes=None)
    results["summary"] = []
    (folder / "results.json").write_text(json.dumps(results))
    lines = ['{"step": 0, "loss": NaN, "ess": null}', '{"step": 1, "loss": 2.0}', '{"step": 2, "lo']
    (folder / "units" / "dc" / "0" / "metrics.jsonl").write_text("\n".join(lines))
    text = Outline(report.write(folder).read_text(encoding="utf-8")).text
    assert "–" in text
    assert not re.search(r"\b(nan|NaN|None)\b", text)


def test_many_arms_and_two_protocols(tmp_path):
    arms = {f"dc+influence:tau={i},sign=-1": 50.0 + i for i in range(12)}
    folder = fabricate.compare(tmp_path / "compare", arms=arms, seeds=2, steps=3, ipc=1)
    results = json.loads((folder / "results.json").read_text())
    for part in ("rows", "summary"):
        results[part] += [row | {"protocol": "iwd-cpu"} for row in results[part]]
    (folder / "results.json").write_text(json.dumps(results))
    page = report.write(folder).read_text(encoding="utf-8")
    assert page.count('<table class="restack') == 2
    assert all(Outline(page).text.count(arm) >= 4 for arm in arms)


def test_bad_folders_get_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        report.write(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no run; expected"):
        report.write(tmp_path)
    folder = fabricate.unit(tmp_path / "unit")
    (folder / "metrics.jsonl").write_text('{"step": 0\n{"step": 1, "loss": 2.0}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1"):
        report.write(folder)
    fabricate.unit(folder)
    (folder / "distilled" / "images.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        report.write(folder)
    fabricate.unit(folder)
    (folder / "scores.parquet").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read as scores"):
        report.write(folder)
    assert not (folder / "report.html").exists()


def test_write_scores(tmp_path):
    folder = fabricate.unit(tmp_path / "unit", classes=["circle", "square <b>"], real=30, without=("pictures",))
    found = report.scores.read_scores(folder / "scores.parquet")
    rows = report.picture_rows(found.index, found.label, found.score)
    assert len(rows) == len(set(rows)) == 20
    rng = np.random.default_rng(0)
    images = {row: fabricate.shapes(1, 0, 8, 1, rng)[0] for row in rows}
    path = report.write_scores(folder / "scores.parquet", images, ["circle", "square <b>"], "Scores of <shapes>")
    assert path == folder / "scores.html"
    outline = Outline(path.read_text(encoding="utf-8"))
    assert len(outline.all("img")) == 20
    assert "Scores of <shapes>" in outline.text
    assert "60 instances" in outline.text.replace("\u202f", " ")
    highest = found.score.max() / 10 ** math.floor(math.log10(np.quantile(abs(found.score), 0.999)))
    assert signed(highest, 2) in outline.text
    with pytest.raises(InputError, match="holds no finite score"):
        report.write_scores(tmp_path / "none.parquet", {}, [], "none")


def test_arms_are_explained_by_their_cards(outlines):
    text = outlines["compare"].text
    for words in ("dc what dc does", "random what random does", "+shuffled what shuffled weights are"):
        assert words in text, words
    assert "what  weights are" not in text


def test_a_new_method_is_explained_by_its_card_and_an_old_card_by_nothing():
    cards = {
        "mtt": {"summary": "trajectories"},
        "mtt+selected:tau=1": {"weights_summary": "a few"},
        "random": {},
        "dc+loss": {},
    }
    baseline = ("random", page_module.BASELINES["random"])
    assert page_module._meanings(cards) == [("mtt", "trajectories"), baseline, ("+selected", "a few")]
    assert page_module._meanings({"random": {"summary": "by lot"}}) == [("random", "by lot")]
    late = {"mtt:lr=1": {}, "mtt": {"summary": "trajectories"}}  # the first arm of a method has no card yet
    assert page_module._meanings(late) == [("mtt", "trajectories")]
    assert [name for name, _ in page_module._meanings({"dc:equal_seconds=influence": {}})] == ["equal_seconds"]


def test_heights_of_weighted_curves_are_not_comparable(outlines, tmp_path):
    assert "cannot be compared by their height" in outlines["compare"].text
    assert "another distance" not in outlines["compare"].text
    for arms, words in (
        ({"dc": 60.0, "random": 50.0}, []),
        ({"dc": 60.0, "dc+influence:where=outside": 61.0}, ["another distance"]),
    ):
        folder = fabricate.compare(tmp_path / str(len(words)), arms=arms, seeds=2, steps=3, ipc=1)
        text = Outline(report.write(folder).read_text(encoding="utf-8")).text
        assert ("by their height" in text, "another distance" in text) == (bool(words), bool(words))


def test_equal_differences_have_no_interval_on_the_page(tmp_path):
    folder = fabricate.compare(tmp_path / "compare", arms={"random": 60.0, "dc": 70.0}, seeds=2, steps=3, ipc=1)
    results = json.loads((folder / "results.json").read_text())
    for row in results["summary"]:
        row.update(dict.fromkeys(("low", "high", "smallest_shown", "p", "p_holm")))
    (folder / "results.json").write_text(json.dumps(results))
    text = Outline(report.write(folder).read_text(encoding="utf-8")).text
    assert "no interval (all differences are equal) against random" in text


def test_the_ends_of_the_scores_of_a_run_are_not_called_harmful(outlines, score_pages):
    text = outlines["compare"].text
    assert "may stand at either end, or between" in text
    assert "Lowest: it raises it least, or lowers it" in text
    assert "Neither end says that an instance helps or harms a classifier" in text
    assert "At the top" not in text
    assert "over a whole run the two arms may differ in ESS" in text
    assert "either end" not in score_pages["ten"].read_text(encoding="utf-8")


def test_no_code_mark_of_a_card_is_printed():
    cards = {"dm+influence": {"summary": "x", "weights_summary": "softmax, unless `link` says otherwise"}}
    assert page_module._meanings(cards) == [("dm", "x"), ("+influence", "softmax, unless link says otherwise")]


def test_no_accuracy_beyond_a_hundred_is_labelled():
    def labels(values):
        rows = [{"name": "a", "value": v, "colour": "#23262d"} for v in values]
        spans = [{"name": "a", "mean": values[0], "low": None, "high": None, "colour": "#23262d"}]
        drawing = charts.drawn(str(charts.dots(rows, spans, ["a"], "accuracy, %", False, "t")), Path("x"))
        return [float(text) for text in re.findall(r">(\d+(?:\.\d+)?)</text>", drawing)]

    full = labels([100.0, 100.0])
    assert full
    assert max(full) == 100
    assert min(labels([0.0, 0.0, 0.5])) == 0
