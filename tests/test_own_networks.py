"""A network of the user's own from end to end: from Python and on the command line, in memory, in a folder, in workers."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from torch import nn

import refluence as rf
from refluence.cli import main
from refluence.compute import Compute
from refluence.errors import InputError
from refluence.jobs.run_job import make
from refluence.jobs.session import Session
from refluence.run.progress import Reporter

TINY = {"ipc": 2, "iterations": 1, "real_batch": 8, "threads": 1}
JUDGED = {"nets": 1, "epochs": 1}
FILE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(shape[0], 4, 3, padding=1), nn.Dropout(0.2)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(shape[1] * shape[2], classes)

    def forward(self, x):
        return self.head(self.drop(nn.functional.avg_pool2d(self.norm(self.conv(x)).relu(), 2).flatten(1)))

def make(shape, classes):
    return Net(shape, classes)
"""


def mlp(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 6), nn.Tanh(), nn.Linear(6, classes))


def conv(shape, classes):
    return nn.Sequential(
        nn.Conv2d(shape[0], 4, 3, padding=1), nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(shape[1] * shape[2], classes),
    )  # fmt: skip


def frozen(shape, classes):
    net = conv(shape, classes)
    net[0].requires_grad_(False)
    return net


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FILE)
    return tmp_path / "net.py"


@pytest.mark.parametrize("arm", ["dc+influence", "dm+influence", "idc", "ncfm:pool=1"])
def test_a_function_makes_and_judges_a_set(data, arm):
    before = torch.random.get_rng_state()
    run = rf.distill(data, arm, model=conv, **TINY)
    again = rf.distill(data, arm, model=conv, **TINY)
    assert torch.equal(run.set.images, again.set.images)
    assert run.card["model"]["name"] == "conv()"
    assert torch.equal(torch.random.get_rng_state(), before)
    assert rf.evaluate(run, data, **JUDGED).model == "conv()"
    assert not torch.equal(run.set.images, rf.distill(data, arm, model=conv, **{**TINY, "seed": 1}).set.images)


@pytest.mark.parametrize("arm", ["dc:outer=4", "idc", "idm", "ncfm:pool=2"])
def test_a_work_goes_on_from_a_checkpoint(data, arm):
    def work():
        return rf.start(data, arm, model=conv, ipc=1, iterations=3, real_batch=8)

    whole, first, second = work(), work(), work()
    for _ in whole.steps():
        pass
    next(first.steps())
    second.restore({name: t.clone() for name, t in first.state().items()})
    assert len(list(second.steps())) == 2
    assert torch.equal(second.images, whole.images)


@pytest.mark.parametrize("arm", ["dc+influence", "dc+difficulty", "idm", "ncfm:pool=1"])
def test_frozen_layers_stay_as_they_are(data, arm):
    run = rf.distill(data, arm, model=frozen, **TINY)
    assert bool(run.set.images.isfinite().all())
    assert rf.evaluate(run, data, **JUDGED).model == "frozen()"


@pytest.mark.parametrize("arm", ["el2n:steps=2", "herding:steps=2", "influence:steps=1"])
def test_a_function_selects(data, arm):
    run = rf.select(data, arm, ipc=2, model=mlp, threads=1)
    assert run.card["rows"] == rf.select(data, arm, ipc=2, model=mlp, threads=1).card["rows"]
    assert rf.evaluate(run.set, data, model=mlp, **JUDGED).curve == rf.evaluate(run, data, **JUDGED).curve


def test_a_function_is_resumed_by_one_of_the_same_digest_alone(data, tmp_path, capsys):
    given = {**TINY, **JUDGED, "out": tmp_path / "run"}
    first = rf.distill(data, "dm", model=mlp, **given)
    stored = json.loads((tmp_path / "run/config.json").read_text(encoding="utf-8"))["resolved"]["unit"]["model"]
    assert first.card["model"] == stored
    assert torch.equal(rf.distill(data, "dm", model=mlp, **given).set.images, first.set.images)
    with pytest.raises(InputError, match=r"holds another run .*model"):
        rf.distill(data, "dm", model=conv, **given)

    def other(shape, classes):
        return mlp(shape, classes).train()

    other.__name__ = "mlp"
    with pytest.raises(InputError, match=r"holds another run .unit.model.sha256: mlp\(\) has changed"):
        rf.distill(data, "dm", model=other, **given)
    capsys.readouterr()
    for words in (["repeat", str(tmp_path / "run")], ["evaluate", str(tmp_path / "run"), "--quiet"]):
        assert main(words) == 2
        assert "--model mlp(): the run was made with this function given in Python" in capsys.readouterr().err
    assert not (tmp_path / "run-repeat").exists()


def test_a_folder_is_opened_without_the_function_and_judged_with_it(data, tmp_path):
    run = rf.select(data, "random", ipc=1, model=mlp, out=tmp_path / "run", threads=1, **JUDGED)
    opened = rf.open(tmp_path / "run")
    assert torch.equal(opened.set.images, run.set.images)
    for small in (opened, tmp_path / "run"):
        with pytest.raises(InputError, match=r"again, with model= \(rf.distill continues the run, rf.evaluate judges"):
            rf.evaluate(small, data, **JUDGED)
        assert rf.evaluate(small, data, model=mlp, **JUDGED).curve == rf.evaluate(run, data, **JUDGED).curve
    assert rf.evaluate(opened, data, model="convnet", width=4, **JUDGED).model == "convnet1"


def test_functions_are_compared(data):
    found = rf.compare(data, ["random", "dm"], model=mlp, seeds=1, **TINY, **JUDGED)
    assert [row["arm"] for row in found.rows] == ["random", "dm"]


WORDS = ("--data", "digits", "--ipc", "2", "--iterations", "1", "--real-batch", "8", "--nets", "1", "--epochs", "1")
ONE = ("--threads", "1", "--quiet")


def said(capsys, *words):
    code = main([str(word) for word in words])
    found = capsys.readouterr()
    return code, found.out + found.err


def test_a_file_goes_through_every_command(file, capsys):
    made = ("distill", *WORDS, *ONE, "--method", "dm", "--model", "net.py:make", "--out", "run")
    assert said(capsys, *made)[0] == 0
    code, out = said(capsys, "repeat", "run")
    assert (code, "the same bit for bit" in out) == (0, True)
    code, out = said(capsys, "evaluate", "run", *ONE, "--epochs", "2", "--nets", "1", "--save-model")
    assert code == 0, out
    assert "net.py:make width 64 batch norm" in out
    code, out = said(capsys, "evaluate", "run", *ONE, "--epochs", "2", "--nets", "1", "--model", "net.py:make", "convnet:none")
    assert code == 0, out
    score = ("score", "--data", "digits", *ONE, "--terms", "explicit", "--load", "run/model.safetensors", "--out", "s.parquet")
    code, out = said(capsys, *score)
    assert code == 0, out
    assert "net.py:make: " in out
    assert said(capsys, "score", "--distilled", "run", "--nets", "1", *ONE, "--out", "t.parquet")[0] == 0
    assert said(capsys, "report", "run")[0] == 0
    code, out = said(capsys, "estimate", *made[:-2])
    assert code == 0, out
    file.write_text(FILE + "\n")
    for words in ([*made, "--resume"], ["repeat", "run", "--out", "again"], ["evaluate", "run"]):
        code, out = said(capsys, *words)
        assert code == 2, words
        assert "net.py:make has changed" in out or "net.py has changed" in out, out
    assert len(rf.open("run").set) == 20


def test_a_worker_makes_the_same_set(file, data):
    for model in ("net.py:make", mlp):
        run = rf.distill(data, "dm", model=model, **TINY)
        job = pickle.loads(pickle.dumps(run.job))
        assert job == run.job
        session = Session(data, Compute(torch.device("cpu")), Reporter(True))
        assert torch.equal(make(job, session, None)[0].artifact.images, run.set.images)
