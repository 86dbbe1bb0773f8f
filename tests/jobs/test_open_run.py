"""Runs of a method or network given in Python, opened again; data that do not fit; numbers that mean nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import refluence as rf
from refluence.cli import main
from refluence.condense.dm import METHOD
from refluence.errors import InputError

MINE = dataclasses.replace(METHOD, name="mine")
SHORT = {"ipc": 1, "iterations": 1, "nets": 1, "epochs": 1, "threads": 1}


def net(shape, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(shape[0] * shape[1] * shape[2], classes))


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return rf.distill(data, MINE, width=4, out=tmp_path_factory.mktemp("own") / "run", **SHORT)


def test_a_run_of_an_own_method_is_opened_and_judged(run, data, capsys):
    opened = rf.open(run.folder)
    assert repr(opened) == "Run(mine seed 0: 10 images of 10 classes)"
    assert torch.equal(opened.set.images, run.set.images)
    assert opened.job.to_json() == run.job.to_json()
    assert opened.costs == run.costs
    assert rf.evaluate(run.folder, data, nets=1, epochs=1).accuracies == rf.evaluate(run, data, nets=1, epochs=1).accuracies
    assert main(("evaluate", str(run.folder), "--nets", "1", "--epochs", "1")) == 0
    assert main(("score", "--distilled", str(run.folder), "--out", str(run.folder / "s.parquet"))) == 2
    assert "given in Python, 'mine': hand it over again, rf.open(FOLDER, method=…)" in capsys.readouterr().err


def test_its_set_is_scored_against_with_the_method_at_hand(run, data):
    with pytest.raises(InputError, match=r"rf\.open\(FOLDER, method=…\)"):
        rf.score(data, distilled=run.folder)
    again = rf.open(run.folder, method=dataclasses.replace(MINE))
    expected, found = (rf.score(data, distilled=each, nets=1).arrays()["score"] for each in (run, again))
    assert (expected == found).all()
    with pytest.raises(InputError, match="was made by another method 'mine'"):
        rf.open(run.folder, method=dataclasses.replace(MINE, class_steps=True))


def test_a_run_of_an_own_network_is_scored_against_with_its_function(data, tmp_path):
    run = rf.distill(data, "dm", model=net, out=tmp_path / "run", **SHORT)
    expected = rf.score(data, distilled=run, nets=1).arrays()["score"]
    assert (rf.score(data, distilled=run.folder, model=net, nets=1).arrays()["score"] == expected).all()
    assert (rf.score(data, distilled=rf.open(run.folder, model=net), nets=1).arrays()["score"] == expected).all()
    with pytest.raises(InputError, match="hand it over again, with model="):
        rf.score(data, distilled=run.folder, nets=1)
    with pytest.raises(InputError, match=r"run's network is another one, net\(\)"):
        rf.score(data, lambda shape, classes: net(shape, classes), distilled=run.folder)
    with pytest.raises(InputError, match="model is for scores against validation data"):
        rf.score(data, "convnet", distilled=run.folder)


def test_data_that_do_not_fit_the_set_are_refused(run):
    with pytest.raises(InputError, match=r"images of 1 x 4 x 4, the distilled set of 1 x 8 x 8"):
        rf.score(rf.load("digits", image_size=4), distilled=run)


@pytest.mark.parametrize("asked", [{"nets": 0}, {"nets": -1}, {"nets": 1.5}, {"checkpoint_seconds": 1.0}, {"out": "x.csv"}])
def test_what_means_nothing_for_scores_is_refused(run, data, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for distilled in (None, run):
        with pytest.raises(InputError, match=f"{next(iter(asked))}.*(whole number|choose one of|written as Parquet)"):
            rf.score(data, distilled=distilled, **asked)
    assert not list(tmp_path.iterdir())


def test_small_classes_are_dropped_as_by_the_command(tmp_path):
    data = rf.load("digits", small_classes="drop")
    run = rf.distill(data, "random", ipc=130, width=4, threads=1)
    words = ("--method", "random", "--ipc", "130", "--small-classes", "drop", "--width", "4", "--nets", "1", "--epochs", "1")
    assert main(("distill", "--data", "digits", *words, "--out", str(tmp_path / "run"))) == 0
    by_command = rf.open(tmp_path / "run")
    assert len(run.set.classes) < 10
    assert (run.set.classes, run.set.mean, run.set.std) == (
        by_command.set.classes,
        by_command.set.mean,
        by_command.set.std,
    )
    assert torch.equal(run.set.images, by_command.set.images)
    assert 0 <= rf.evaluate(run, data, nets=1, epochs=1).accuracy <= 100
    arrays = rf.load((data.train.images, data.train.labels), small_classes="drop")
    with pytest.raises(InputError, match="leave them out of the data that you give"):
        rf.distill(arrays, "random", ipc=130)
