"""The base method with as many steps as its influence arm has seconds for: an arm, a reference, decided once."""

import shutil

import pytest

import refluence as rf
from refluence.arm import read_arm
from refluence.errors import InputError
from refluence.evaluate.references import references
from refluence.files import read_json
from refluence.jobs import equal_seconds
from refluence.jobs.catalogue import with_controls
from refluence.jobs.judge_again import EVALUATIONS
from support.command_line import tree

SHORT = {"ipc": 1, "width": 4, "nets": 1, "epochs": 1, "threads": 1, "iterations": 4, "real_batch": 8}
ARMS = ("random", "dm+influence")
CONTROL = "dm:equal_seconds=influence"


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


@pytest.fixture
def equal(data, tmp_path, monkeypatch):
    """A comparison with equal seconds, of which influence arms are said to have taken `ratio` times as long."""
    real = equal_seconds.decide
    monkeypatch.setattr("refluence.report.write", lambda folder: (folder / "report.html").touch())  # pages take their time

    def run(ratio, methods=ARMS, seeds=1):
        def decide(made, rows):
            return real(made, [{**row, "seconds": ratio if "influence" in row["arm"] else 1.0} for row in rows])

        monkeypatch.setattr(equal_seconds, "decide", decide)
        out = tmp_path / "equal"
        return out, rf.compare(data, methods, seeds=seeds, equal_seconds=True, out=out, **SHORT)

    return run


def test_the_base_at_equal_seconds_is_an_arm_and_a_reference(equal):
    folder, found = equal(2.5, seeds=2)
    decided = read_json(folder / "equal_seconds.json")["dm+influence"]
    assert decided == {"seconds": 2.5, "base_seconds": 1.0, "ratio": 2.5, "iterations": 10}
    extra = [row for row in found.rows if row["arm"] == CONTROL]
    assert [(row["seed"], row["iterations"]) for row in extra] == [(0, 10), (1, 10)]
    pairs = [(line["arm"], line["against"]) for line in found.summary]
    assert ("dm+influence", CONTROL) in pairs
    assert (CONTROL, "random") in pairs
    assert "over uniform at equal seconds" in found.verdict
    notes = read_json(folder / "results.json")["notes"]
    assert any("2.50 times the seconds" in note and "10 iterations" in note for note in notes)
    longer, base = (
        (folder / "units" / arm / "0/distilled/images.safetensors").read_bytes() for arm in ("dm@equal_seconds=influence", "dm")
    )
    assert longer != base


def test_training_beforehand_follows_the_steps_at_equal_seconds(equal):
    folder, _ = equal(2.5, ("ncfm+influence",))
    base, longer = (
        read_json(folder / "units" / arm / "0" / "config.json")["resolved"]["unit"]["settings"]
        for arm in ("ncfm", "ncfm@equal_seconds=influence")
    )
    assert (base["iterations"], base["pretrain"]) == (4, 2)
    assert (longer["iterations"], longer["pretrain"]) == (10, 5)


def test_resume_keeps_the_iterations_that_were_measured(equal):
    folder, _ = equal(2.5)
    (folder / "results.json").unlink()
    shutil.rmtree(folder / "units" / "dm@equal_seconds=influence" / "0")
    before = tree(folder / "units")
    _, found = equal(7.0)  # another measurement would now say 28 iterations
    assert read_json(folder / "equal_seconds.json")["dm+influence"]["iterations"] == 10
    after = tree(folder / "units")
    assert {name: after[name] for name in before} == before
    assert [row["iterations"] for row in found.rows if row["arm"] == CONTROL] == [10]


def test_weights_that_cost_nothing_need_no_such_arm(equal):
    folder, found = equal(1.04)
    assert not [row for row in found.rows if "equal" in row["arm"]]
    assert any("no arm at equal seconds is needed" in note for note in read_json(folder / "results.json")["notes"])


def test_a_unit_at_equal_seconds_can_be_opened_and_judged(equal, data):
    folder, _ = equal(2.0)
    run = rf.open(folder / "units" / "dm@equal_seconds=influence" / "0")
    assert run.job.plan.iterations == 8
    assert 0 <= rf.evaluate(run, data, split="val", nets=1, epochs=1).accuracy <= 100
    assert (run.folder / EVALUATIONS).exists()


def test_a_unit_at_equal_seconds_records_its_own_number_of_iterations_once(equal):
    folder, _ = equal(2.0, ("dm:iterations=3", "dm+influence:iterations=3"))
    arguments = read_json(next((folder / "units").glob("dm@equal_seconds*/0/config.json")))["arguments"]
    assert (arguments["method"], arguments["weights"], arguments["iterations"]) == ("dm", "uniform", 6)


def test_an_influence_arm_that_comes_later_gets_its_own(equal):
    folder, _ = equal(3.0)
    first = read_json(folder / "equal_seconds.json")
    assert list(first) == ["dm+influence"]
    _, found = equal(2.0, (*ARMS, "dm+influence:tau=.1,sign=-1"))
    assert read_json(folder / "equal_seconds.json")["dm+influence"] == first["dm+influence"]
    names = [CONTROL, f"{CONTROL},tau=.1,sign=-1"]
    assert [row["arm"] for row in found.rows if "equal" in row["arm"]] == names
    pairs = [(line["arm"], line["against"]) for line in found.summary]
    assert ("dm+influence:tau=.1,sign=-1", names[1]) in pairs
    assert ("dm+influence", names[1]) not in pairs


def test_arms_that_clean_beforehand_have_no_such_arm():
    arms = with_controls(["dm+pruned:by=score"], controls=True)
    with pytest.raises(InputError, match="needs an arm with influence weights"):
        equal_seconds.check(arms)
    equal_seconds.check([*arms, *with_controls(["dm+influence"], controls=True)])


def test_students_at_equal_seconds_are_told_apart_by_the_options_of_what_they_stand_beside(tmp_path, monkeypatch):
    monkeypatch.setattr(equal_seconds, "WORTH", 0.0)
    arms = ["kd", "student", "student:refresh=2", "kd+influence:tau=2"]
    names = [equal_seconds.control(read_arm(arm)).name for arm in arms[1:]]
    assert names == ["kd:equal_seconds=student", "kd:equal_seconds=student,refresh=2", "kd:equal_seconds=influence,tau=2"]
    for arm, name in zip(arms[1:], names, strict=True):
        assert [other for other in names if references(arm, [*arms, other])[-1:] == [other]] == [name]
        assert equal_seconds.plain(equal_seconds.control(read_arm(arm))).name == "kd"
    options = {"teacher": "convnet1:6", "student": "convnet1:4", "epochs": 2, "threads": 1}
    found = rf.compare(
        rf.load("digits", rows=300, val_fraction=0.25), ["kd", "student", "student:refresh=1"], controls=False,
        equal_seconds=True, seeds=1, out=tmp_path / "run", **options,
    )  # fmt: skip
    assert len({row["arm"] for row in found.rows}) == len(found.rows)
    assert "kd:equal_seconds=student,refresh=1" in {row["arm"] for row in found.rows}
