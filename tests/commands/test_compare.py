"""`compare`: the folder, units that stand alone, resume, what is refused; the rest is in tests/jobs."""

import shutil

import pytest

from refluence.arm import Arm
from refluence.errors import InputError, RunError
from refluence.jobs.catalogue import parse_arm, with_controls
from refluence.run.folder import locked
from support.command_line import DIGITS, TINY, pictures, read, tree, without_seconds

WORDS = ("compare", *DIGITS, "--methods", "random", "dc+influence", "--iterations", "4", "--seeds", "2")
ARMS = ["random", "dc", "dc+influence", "dc+shuffled"]


def images(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("images.safetensors"))}


def test_the_folder_of_a_comparison(compared_once):
    results = read(compared_once / "results.json")
    assert [(row["arm"], row["seed"]) for row in results["rows"]] == [(arm, seed) for seed in (0, 1) for arm in ARMS]
    wanted = {"arm", "seed", "accuracy", "nets", "seconds", "peak_bytes", "stored_bytes", "ess"}
    assert all(wanted <= set(row) for row in results["rows"])
    pairs = [(line["arm"], line["against"]) for line in results["summary"]]
    assert pairs == [
        ("random", None),
        ("dc", "random"),
        ("dc+influence", "dc"),
        ("dc+influence", "dc+shuffled"),
        ("dc+shuffled", "dc"),
    ]
    assert results["verdict"].startswith("influence weights: ")
    assert (compared_once / "report.html").exists()
    for arm in ARMS:
        for seed in "01":
            assert (compared_once / "units" / arm / seed / "distilled" / "card.json").exists()
    sets = images(compared_once)
    assert len(set(sets.values())) == len(sets) == 8, "no two units came out alike"


def test_a_unit_is_the_distill_run_with_the_same_flags(refluence, compared_once, tmp_path):
    words = ("distill", *DIGITS, "--weights", "influence", "--iterations", "4", "--seed", "1", "--out", tmp_path / "run")
    assert refluence(*words).code == 0
    unit = compared_once / "units" / "dc+influence" / "1"
    for name in ("distilled/images.safetensors", "scores.parquet"):
        assert (unit / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    ours, theirs = read(unit / "config.json"), read(tmp_path / "run" / "config.json")
    assert ours["resolved"] == theirs["resolved"]
    differing = {k for k, v in ours["arguments"].items() if theirs["arguments"][k] != v}
    assert differing <= {"out"}


def test_a_finished_comparison_is_left_alone_and_shown_again(refluence, compared):
    before = tree(compared)
    said = refluence(*WORDS, "--workers", "1", "--out", compared, "--resume")
    assert said.code == 0
    assert "nothing to do" in said.out
    assert read(compared / "results.json")["verdict"] in said.out
    assert tree(compared) == before


def test_resume_makes_only_what_is_missing(refluence, compared, compared_once):
    for name in ("results.json", "report.html"):
        (compared / name).unlink()
    gone = compared / "units" / "dc+shuffled" / "1"
    shutil.rmtree(gone)
    (compared / "units" / "dc" / "1" / "evaluation.json").unlink()
    before = tree(compared / "units")
    assert refluence(*WORDS, "--workers", "1", "--out", compared, "--resume").code == 0
    after = tree(compared / "units")
    rewritten = {name for name in before if before[name] != after[name]}
    assert rewritten == {"dc/1/distilled/card.json"}, "judged once more, and counted; nothing else is touched"
    assert images(compared) == images(compared_once)
    assert without_seconds(read(compared / "results.json")) == without_seconds(read(compared_once / "results.json"))


def test_a_report_alone_does_not_make_a_comparison_finished(refluence, compared):
    (compared / "results.json").unlink()
    assert refluence(*WORDS, "--workers", "1", "--out", compared, "--resume").code == 0
    assert (compared / "results.json").exists()


def test_another_comparison_in_the_folder_is_refused(refused, compared):
    before = tree(compared)
    resume = ("--workers", "1", "--out", compared, "--resume")
    fewer = refused("compare", *WORDS[1:-1], "1", *resume)
    assert "holds the seeds 0, 1, and 1 is not asked for: a run may grow, not shrink" in fewer
    assert "and dc+influence, dc+shuffled are not asked for" in refused(*WORDS, *resume, "--methods", "random", "dc", "dm")
    assert "equal_seconds is False there, True here" in refused(*WORDS, *resume, "--equal-seconds")
    assert "--real-batch 16 there, 17 here" in refused(*WORDS, *resume, "--real-batch", "17")
    assert tree(compared) == before


def test_a_comparison_that_is_under_way_is_refused(refused, compared):
    (compared / "results.json").unlink()
    with locked(compared):
        said = refused(*WORDS, "--workers", "1", "--out", compared, "--resume")
    assert "compared is in use by process" in said


def test_a_resumed_run_keeps_its_threads(refluence, tmp_path):
    words = ("compare", *DIGITS, "--methods", "random", "--seeds", "1", "--workers", "1", "--out", tmp_path / "run")
    assert refluence(*words, "--threads", "2").code == 0
    at = words.index("--threads")
    automatic = (*words[:at], *words[at + 2 :])
    said = refluence(*automatic, "--resume", "--seeds", "2")
    assert said.code == 0, said.err
    for seed in "01":
        config = read(tmp_path / "run" / "units" / "random" / seed / "config.json")
        assert config["resolved"]["machine"]["threads"] == config["arguments"]["threads"] == 2


def test_executors_that_are_none(refused, tmp_path):
    words = ("compare", *DIGITS, "--methods", "random", "--out", tmp_path / "run")
    assert "unknown executor 'proceses': did you mean processes?" in refused(*words, "--executor", "proceses")
    assert "--workers 2 and --executor serial differ" in refused(*words, "--executor", "serial", "--workers", "2")
    assert not (tmp_path / "run").exists()


def test_errors_survive_the_way_between_processes():
    import pickle

    for error in (InputError("a: b"), RunError("at iteration 3")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


def test_controls_come_along_once():
    names = [arm.name for arm in with_controls(["dc+influence:tau=.1,image_lr=1", "dc", "random"], True)]
    assert names == [
        "dc:image_lr=1",
        "dc+influence:tau=.1,image_lr=1",
        "dc+shuffled:tau=.1,image_lr=1",
        "dc",
        "random",
    ]
    with pytest.raises(InputError, match="arm 'dc\\+influence' is given twice"):
        with_controls(["dc+influence", "dc+influence"], False)
    assert parse_arm("dc+uniform").name == "dc"


def test_an_arm_is_one_folder_whatever_stands_in_it():
    for arm, expected in (
        (parse_arm("dc+influence:tau=.1,sign=-1"), "dc+influence@tau=.1,sign=-1"),
        (Arm("dc", options=(("augmentation", "a/b\\c:d ü~@%"),)), "dc@augmentation=a%2Fb%5Cc@d%20%C3%BC%7E%40%25"),
        (Arm("dc", options=(("image_lr", "1."),)), "dc@image_lr=1%2E"),
    ):
        assert arm.folder == expected
    with pytest.raises(InputError, match=r"'\.\.' may not stand"):
        parse_arm("dc:augmentation=..")


def test_balanced_accuracy_and_f1_stand_beside_accuracy_where_classes_are_unequal(refluence, compared_once, tmp_path):
    pictures(tmp_path / "animals", ("cat",), 60)
    pictures(tmp_path / "more", ("dog",), 30)
    (tmp_path / "more" / "dog").rename(tmp_path / "animals" / "dog")
    words = ("compare", *TINY, "--data", tmp_path / "animals", "--methods", "random", "--ipc", "2", "--seeds", "2")
    said = refluence(*words, "--workers", "1", "--out", tmp_path / "run")
    assert said.code == 0, said.err
    rows = read(tmp_path / "run" / "results.json")["rows"]
    assert [row["imbalance"] for row in rows] == [2.0, 2.0]
    means = [f"{(rows[0][key] + rows[1][key]) / 2:.1f}" for key in ("balanced_accuracy", "macro_f1")]
    cells = [cell.strip() for cell in next(line for line in said.out.splitlines() if "random" in line).split("│")]
    assert cells[3:5] == means
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Macro-F1, %" in page
    assert all(f"<span>{value}</span>" in page for value in means)
    assert max(row["imbalance"] for row in read(compared_once / "results.json")["rows"]) < 1.1
    assert "Macro-F1, %" not in (compared_once / "report.html").read_text(encoding="utf-8"), "digits are nearly equal"
