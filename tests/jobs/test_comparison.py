"""A comparison from Python: the folder of the command line, continued, grown, repeated; other data and networks are refused."""

import dataclasses
import json
import pickle

import pytest
import torch
from torch import nn

import refluence as rf
from refluence.cli import main
from refluence.condense.dm import METHOD
from refluence.data import load_distilled
from refluence.errors import InputError
from refluence.jobs import comparison
from refluence.jobs.run_job import run_job
from refluence.jobs.session import Machine, open_session
from refluence.options import SourceOptions
from refluence.run import device
from refluence.run.execute import KINDS, Serial
from support.command_line import pictures, read, without_seconds

SHORT = {"ipc": 1, "width": 4, "nets": 1, "epochs": 1, "threads": 1}
WORDS = ("--data", "digits", "--ipc", "1", "--width", "4", "--nets", "1", "--epochs", "1", "--threads", "1", "--quiet")


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


def made(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("images.safetensors")}


def images(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("images.safetensors")}


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


def test_the_same_call_continues_and_grows_to_what_it_had_been_at_once(tmp_path, data, monkeypatch):
    more = {"methods": ["random", "random:factor=2", "dm+influence"], "seeds": 2, "iterations": 2, "real_batch": 8, **SHORT}
    whole = rf.compare(data, out=tmp_path / "whole", **more)

    def stops(self, work, tasks, context):
        yield work(context(), tasks[0])
        raise KeyboardInterrupt

    fewer, out = {**more, "methods": ["random", "dm+influence"], "seeds": 1}, tmp_path / "grown"
    with monkeypatch.context() as patch:
        patch.setattr(Serial, "run", stops)
        with pytest.raises(KeyboardInterrupt):
            rf.compare(data, out=out, **fewer)
    assert len(first := made(out)) == 1
    rf.compare(data, out=out, **fewer)
    assert first.items() <= (second := made(out)).items()
    grown = rf.compare(data, out=out, **more)
    assert second.items() <= made(out).items(), "what was finished is as it was"
    assert without_seconds(grown.rows) == without_seconds(whole.rows)
    assert without_seconds(grown.summary) == without_seconds(whole.summary)
    assert images(out) == images(tmp_path / "whole")
    assert len(images(out)) == 5 * 2
    assert read(out / "config.json")["resolved"] == read(tmp_path / "whole" / "config.json")["resolved"]
    assert read(out / "config.json")["arguments"]["seeds"] == 2
    assert rf.compare(data, out=out, **more).rows == grown.rows
    assert not list(out.rglob(".*"))
    with pytest.raises(InputError, match="a run may grow, not shrink"):
        rf.compare(data, out=out, **fewer)


def test_every_arm_gets_the_same_images_per_class(tmp_path):
    place = pictures(tmp_path / "pets", count=10)
    pictures(tmp_path / "pets", classes=("cow",), count=6)
    given = {**SHORT, "ipc": 3, "allocation": "proportional", "iterations": 1}
    rf.compare(str(place), ["random", "herding:steps=1", "dm"], seeds=1, out=tmp_path / "run", **given)
    sets = [load_distilled(path.parent) for path in (tmp_path / "run").rglob("card.json")]
    counts = [small.labels.bincount().tolist() for small in sets]
    assert counts[0] == counts[1] == counts[2]
    assert len(set(counts[0])) > 1


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


def test_threads_are_those_of_the_folder_however_many_units_run_at_a_time(tmp_path, data, monkeypatch):
    used = []

    def serially(asked, jobs, session):
        used.append((torch.get_num_threads(), session.machine.threads))
        return Serial()

    monkeypatch.setattr("refluence.jobs.comparison.executor_of", serially)
    given = SHORT | {"threads": 0}
    with device.threads(2):
        for out, executor, threads in ((tmp_path / "one", "serial", 2), (tmp_path / "beside", "processes:2", 1)):
            for seeds in (1, 2):
                rf.compare(data, ["random"], seeds=seeds, out=out, executor=executor, **given)
                assert read(out / "config.json")["resolved"]["machine"]["threads"] == threads
        rf.compare(data, ["random"], seeds=3, out=tmp_path / "one", executor="processes:2", **given)
    assert used == [(2, 0), (2, 2), (2, 0), (1, 1), (2, 2)]


def test_a_network_that_others_cannot_import_is_refused_before_anything_is_written(tmp_path, data):
    given = SHORT | {"width": None, "model": lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(64, classes))}
    with pytest.raises(InputError, match="other processes cannot import it"):
        rf.compare(data, ["random"], seeds=2, executor="processes:2", out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arms", "both", "right"),
    [
        (["dm+influence:tau=.5", "dm+influence:tau=0.50"], "'dm.influence:tau=.5' and 'dm.influence:tau=0.50'", "tau=.5"),
        (["random", "random:factor=1"], "'random' and 'random:factor=1'", "random"),
        (["dm:stages=1", "dm+influence"], "'dm:stages=1' and 'dm'", "dm"),
    ],
)
def test_an_arm_written_in_two_ways_is_one(data, arms, both, right):
    with pytest.raises(InputError, match=f"the arms {both} are the same: give one of them, as '.*{right}'"):
        rf.compare(data, arms, **SHORT)


def test_processes_work_for_different_seeds_and_rows_keep_their_order(data, monkeypatch):
    """Arms of a seed would wait for each other's teacher."""
    begun, session = [], open_session("digits", Machine(threads=1))

    def make(opened, task):
        begun.append((task[0].arm.name, task[0].seed))
        return run_job(task[0], session, None)

    class Here(Serial):
        def __init__(self, size):
            self.size = size

    monkeypatch.setattr(comparison, "_make", make)
    monkeypatch.setitem(KINDS, "processes", Here)
    found = rf.compare(data, ["random", "herding"], executor="processes:2", seeds=2, **SHORT)
    assert begun == [("random", 0), ("random", 1), ("herding", 0), ("herding", 1)]
    assert [(row["arm"], row["seed"]) for row in found.rows] == [("random", 0), ("herding", 0), ("random", 1), ("herding", 1)]


@pytest.mark.slow
def test_other_processes_make_the_same_bits_also_of_data_that_only_python_has(tmp_path):
    pixels, labels = torch.rand(60, 1, 8, 8), torch.arange(60) % 3
    given = {"methods": ["random", "dm+influence"], "seeds": 2, "iterations": 2, "real_batch": 8, **SHORT}
    found = rf.compare(rf.load((pixels, labels)), executor="processes:2", out=tmp_path / "a", **given)
    here = rf.compare(rf.load((pixels, labels)), out=tmp_path / "b", **given)
    assert without_seconds(found.rows) == without_seconds(here.rows)
    assert images(tmp_path / "a") == images(tmp_path / "b")
