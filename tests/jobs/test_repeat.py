"""What was recorded is made again, and compared by the files that each job's artifact names."""

import dataclasses
import json

import pytest
import torch

import refluence as rf
from refluence.cli import main
from refluence.condense.dm import METHOD
from refluence.errors import InputError
from refluence.jobs import equal_seconds
from refluence.jobs.repeat import repeat_run

SHORT = {"ipc": 1, "width": 4, "nets": 1, "epochs": 1, "threads": 1, "iterations": 1, "real_batch": 8}


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


def tiny(shape, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(shape[0] * shape[1] * shape[2], classes))


def test_a_run_comes_out_the_same_and_a_changed_one_does_not(tmp_path, data):
    run = rf.distill(data, "dm+influence", out=tmp_path / "run", **SHORT)
    again = repeat_run(run.folder, tmp_path / "again")
    assert (again.names, again.differing, again.already) == ((".",), (), False)
    first, second = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("run", "again"))
    assert first["resolved"] == second["resolved"]
    assert first["arguments"] == {**second["arguments"], "out": str(run.folder)}
    with pytest.raises(InputError, match="already holds a run"):
        repeat_run(run.folder, tmp_path / "again")
    path = run.folder / "distilled" / "images.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    again = repeat_run(run.folder, tmp_path / "again", resume=True)
    assert (again.differing, again.already) == ((".",), True)
    with pytest.raises(InputError, match="is the run itself"):
        repeat_run(run.folder, run.folder)


def test_arms_at_equal_seconds_have_the_iterations_that_were_measured(tmp_path, data, monkeypatch):
    def slow(by):
        def decide(made, rows):
            return {"dm+influence": {"seconds": by, "base_seconds": 1.0, "ratio": by, "iterations": int(by)}}

        return decide

    monkeypatch.setattr(equal_seconds, "decide", slow(2.0))
    rf.compare(data, ["dm+influence"], seeds=1, equal_seconds=True, out=tmp_path / "run", **SHORT)
    monkeypatch.setattr(equal_seconds, "decide", slow(3.0))
    again = repeat_run(tmp_path / "run", tmp_path / "again")
    assert len(again.names) == 4
    assert again.differing == ()
    unit = tmp_path / "run" / "units" / "dm@equal_seconds=influence" / "0"
    assert rf.open(unit).costs["iterations"] == 2
    assert repeat_run(unit, tmp_path / "unit").differing == ()


def test_a_table_of_scores_comes_out_the_same(tmp_path, capsys):
    words = ("--data", "digits", "--folds", "2", "--epochs", "1", "--width", "4", "--threads", "1", "--quiet")
    table = tmp_path / "s.parquet"
    assert main(("score", *words, "--terms", "explicit", "--out", str(table))) == 0
    assert main(("repeat", str(table))) == 0
    assert "1 table of scores: the same bit for bit" in capsys.readouterr().out
    assert (tmp_path / "s-repeat.html").exists()
    assert main(("repeat", str(table))) == 2
    assert "is there already: choose another file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"data": (torch.rand(40, 1, 8, 8), [0, 1] * 20)}, "data that was given in Python"),
        ({"change": True}, "data that were changed in Python after they were loaded"),
        ({"validation": (torch.rand(9, 1, 8, 8), [0, 1, 2] * 3)}, "validation set that was given in Python, arrays:"),
        ({"method": dataclasses.replace(METHOD, name="mine")}, "a method that was given in Python"),
        ({"model": tiny}, "tiny"),
    ],
    ids=["arrays", "changed", "validation", "method", "network"],
)
def test_what_only_lives_in_python_is_refused_in_one_line(tmp_path, how, message):
    data = rf.load(how.get("data", "digits"), validation=how.get("validation"))
    if "change" in how:
        data = dataclasses.replace(data, train=data.train.first(20))
    short = {k: v for k, v in SHORT.items() if k != "width"} | ({"model": tiny} if "model" in how else {"width": 4})
    rf.distill(data, how.get("method", "dm"), out=tmp_path / "run", **short)
    with pytest.raises(InputError, match=message) as refused:
        repeat_run(tmp_path / "run", tmp_path / "again")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "again").exists()
