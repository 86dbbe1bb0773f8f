"""A comparison from Python: the folder of the command line, continued, grown, repeated; other data and networks are refused."""

import dataclasses
import json
import pickle

import pytest
import torch

import refluence as rf
from refluence.cli import main
from refluence.condense.dm import METHOD
from refluence.errors import InputError
from refluence.jobs.session import Machine, open_session
from refluence.options import SourceOptions
from refluence.run.execute import Serial
from support.command_line import pictures

SHORT = {"ipc": 1, "width": 4, "nets": 1, "epochs": 1, "threads": 1}
WORDS = ("--data", "digits", "--ipc", "1", "--width", "4", "--nets", "1", "--epochs", "1", "--threads", "1", "--quiet")


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


def made(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("images.safetensors")}


def test_the_folder_of_a_comparison_is_one_of_the_command_line(tmp_path, data, capsys):
    out = tmp_path / "run"
    found = rf.compare(data, ["random", "random:factor=2"], seeds=2, out=out, **SHORT)
    assert found.folder == out
    assert json.loads((out / "results.json").read_text())["rows"] == found.rows
    words = ("compare", *WORDS, "--methods", "random", "random:factor=2", "--seeds", "2", "--workers", "1", "--resume")
    assert main((*words, "--out", str(out))) == 0
    assert f"{found.verdict}" in (said := capsys.readouterr().out)
    assert "nothing to do" in said
    assert main((*words[:-1], "--out", str(tmp_path / "words"))) == 0
    ours, theirs = (json.loads((folder / "config.json").read_text()) for folder in (out, tmp_path / "words"))
    assert ours["resolved"] == theirs["resolved"]
    ours, theirs = ours["arguments"], theirs["arguments"]
    differing = {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}
    assert differing == {"out", "executor"}
    assert rf.open(out / "units" / "random" / "1").job.seed == 1


def test_the_same_call_continues_and_grows(tmp_path, data, monkeypatch):
    whole = rf.compare(data, ["random", "random:factor=2"], seeds=2, **SHORT)

    def stops(self, work, tasks, context):
        yield work(context(), tasks[0])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Serial, "run", stops)
        with pytest.raises(KeyboardInterrupt):
            rf.compare(data, ["random"], seeds=2, out=tmp_path, **SHORT)
    first = made(tmp_path)
    assert len(first) == 1
    grown = rf.compare(data, ["random", "random:factor=2"], seeds=2, out=tmp_path, **SHORT)
    assert [row["nets"] for row in grown.rows] == [row["nets"] for row in whole.rows]
    assert grown.summary == whole.summary
    assert first.items() <= made(tmp_path).items()
    assert rf.compare(data, ["random", "random:factor=2"], seeds=2, out=tmp_path, **SHORT).rows == grown.rows
    with pytest.raises(InputError, match="a run may grow, not shrink"):
        rf.compare(data, ["random"], seeds=2, out=tmp_path, **SHORT)


def test_data_that_were_changed_are_other_data(tmp_path, data):
    fewer = dataclasses.replace(data, train=data.train.first(20))
    rf.compare(fewer, ["random"], seeds=1, out=tmp_path / "a", **SHORT)
    rf.compare(dataclasses.replace(data, train=data.train.first(20)), ["random"], seeds=2, out=tmp_path / "a", **SHORT)
    other = dataclasses.replace(data, train=fewer.train.take(torch.arange(len(fewer.train)).flip(0)))
    with pytest.raises(InputError, match=r"holds another run .*data.content"):
        rf.compare(other, ["random"], seeds=2, out=tmp_path / "a", **SHORT)
    own = rf.load("digits")
    rf.select(own, "random", out=tmp_path / "b", **SHORT)
    rf.select(own, "random", out=tmp_path / "b", **SHORT)
    own.train.images[0] = 0
    with pytest.raises(InputError, match=r"holds another run .*data.content"):
        rf.select(own, "random", out=tmp_path / "b", **SHORT)


def test_a_validation_set_from_elsewhere_is_recorded(tmp_path):
    images, labels = torch.rand(60, 1, 8, 8), torch.arange(60) % 3
    data = rf.load((images, labels), validation=(images[:9], labels[:9]))
    run = rf.select(data, "random", out=tmp_path / "run", **SHORT)
    assert run.card["validation"] == data.validation
    assert data.validation.startswith("arrays:")
    other = rf.load((images, labels), validation=(images[:6], labels[:6]))
    with pytest.raises(InputError, match=r"holds another run .*data.val"):
        rf.select(other, "random", out=tmp_path / "run", **SHORT)


def test_another_process_reads_the_same_data(tmp_path):
    place = pictures(tmp_path / "pets", count=12)
    pictures(tmp_path / "pets", classes=("cow",), count=3)
    for per_class in (1, 5):
        session = open_session(str(place), Machine(), SourceOptions(small_classes="drop"), per_class=per_class)
        again = pickle.loads(pickle.dumps(session.reopened()))()
        assert again.dataset.classes == session.dataset.classes
        assert torch.equal(again.dataset.train.images, session.dataset.train.images)
    fewer = dataclasses.replace(session.dataset, train=session.dataset.train.first(2))
    again = pickle.loads(pickle.dumps(open_session(fewer, Machine()).reopened()))()
    assert torch.equal(again.dataset.train.images, fewer.train.images)


def test_methods_of_ones_own_are_arms(tmp_path, data):
    mine = dataclasses.replace(METHOD, name="mine")
    given = {"seeds": 1, "out": tmp_path, "iterations": 1, "real_batch": 8, **SHORT}
    found = rf.compare(data, ["dm", mine, "mine+influence"], **given)
    arms = [row["arm"] for row in found.rows]
    assert arms == ["dm", "mine", "mine+influence", "mine+shuffled"]
    assert found.rows[0]["nets"] == found.rows[1]["nets"], "it does what dm does"
    assert rf.Comparison.load(tmp_path) == found
    rf.compare(data, ["dm", dataclasses.replace(mine), "mine+influence"], **given)
    with pytest.raises(InputError, match=r"holds another run .*declared"):
        rf.compare(data, ["dm", dataclasses.replace(mine, unit_pixels=not mine.unit_pixels), "mine+influence"], **given)
    with pytest.raises(InputError, match="holds no comparison"):
        rf.Comparison.load(tmp_path / "units" / "dm" / "0")
    with pytest.raises(InputError, match="the method 'mine' is this process's own: executor='serial'"):
        rf.compare(data, [mine], executor="processes:2", **given | {"seeds": 2, "out": None})
    with pytest.raises(InputError, match=r"unknown method 'mien' .* did you mean mine"):
        rf.compare(data, [mine, "mien+influence"], seeds=1)


@pytest.mark.slow
def test_other_processes_get_data_that_only_python_has(tmp_path):
    images, labels = torch.rand(60, 1, 8, 8), torch.arange(60) % 3
    given = {"seeds": 2, "out": tmp_path / "run", **SHORT}
    found = rf.compare(rf.load((images, labels)), ["random"], executor="processes:2", **given)
    here = rf.compare(rf.load((images, labels)), ["random"], seeds=2, **SHORT)
    assert [row["nets"] for row in found.rows] == [row["nets"] for row in here.rows]
