"""A protocol that learns from a teacher has one: trained on the source once, shared by every arm and seed and by `evaluate`."""

import json

import pytest
import torch

import refluence as rf
from refluence.data import DistilledSet
from refluence.evaluate.protocols import protocols
from refluence.jobs import measuring, source_network
from refluence.jobs.session import Machine, open_session

SHORT = {"ipc": 1, "width": 4, "nets": 1, "epochs": 1, "threads": 1}


@pytest.fixture(scope="module")
def data():
    return rf.load("digits", rows=200)


@pytest.fixture
def trained(monkeypatch):
    """The teachers that are trained."""
    made, real = [], source_network.TeacherNeed.make

    def make(need, session, folder):
        made.append(need.teacher)
        return real(need, session, folder)

    monkeypatch.setattr(source_network.TeacherNeed, "make", make)
    monkeypatch.setattr(source_network, "TEACHERS", {"cpu": "convnet1:4", "paper": "convnet1:8"})
    monkeypatch.setattr(source_network, "SHORT", 400)
    return made


def evaluations(folder):
    return json.loads((folder / "evaluation.json").read_text())["evaluations"]


def test_all_sets_of_a_comparison_have_one_teacher(tmp_path, data, trained):
    out = tmp_path / "run"
    rows = rf.compare(data, ["random", "herding"], seeds=1, protocol=("rded-cpu", "dc-cpu"), out=out, **SHORT).rows
    assert [(t.model.name, t.settings.epochs) for t in trained] == [("convnet1", 2)], "400 images: two epochs of 180"
    assert len(list((out / "shared").glob("teacher-*"))) == 1
    found = evaluations(out / "units" / "herding" / "0")
    assert [each["labels"] for each in found] == ["teacher", "hard"]
    assert len(rows) == 4


def test_a_run_by_itself_keeps_its_teacher_and_evaluate_finds_it(tmp_path, data, trained, capsys):
    from refluence.cli import main

    folder = tmp_path / "run"
    flags = ["--ipc", "1", "--width", "4", "--nets", "1", "--threads", "1", "--quiet", "--epochs", "1"]
    main(["distill", "--data", "digits", "--rows", "200", "--method", "random", "--out", str(folder), *flags])
    assert trained == [], "no protocol asks for one"
    again = ["evaluate", str(folder), "--protocol", "rded-cpu", "--nets", "1", "--threads", "1", "--quiet", "--epochs", "1"]
    main(again)
    main([*again, "--seed", "1"])
    assert len(trained) == 1
    assert [each["labels"] for each in evaluations(folder)] == ["hard", "teacher", "teacher"]


def test_a_set_with_soft_labels_needs_no_teacher(data, trained):
    soft = torch.eye(10)
    small = DistilledSet(torch.zeros(10, 1, 8, 8), torch.arange(10), data.classes, data.mean, data.std, soft=soft)
    assert rf.evaluate(small, data, "rded-cpu", nets=1, epochs=1, width=4).labels == "soft"
    assert trained == []


def test_the_teacher_sees_images_as_its_own_were(data, trained):
    session, protocol = open_session(data, Machine()), protocols()["rded"]
    pixels = torch.rand(3, 1, 8, 8)
    given = [
        source_network.labeller(
            DistilledSet((pixels - mean) / std, torch.zeros(3).long(), data.classes, (mean,), (std,)),
            protocols()["rded-cpu"], session, None,
        )((pixels - mean) / std)
        for mean, std in ((data.mean[0], data.std[0]), (0.5, 0.25))
    ]  # fmt: skip
    torch.testing.assert_close(given[0], given[1])
    published = source_network.need_of(measuring.spec_of("resnet18", data, "paper"), data, "paper").teacher
    assert (published.model.width, published.settings.epochs) == (64, 240)
    assert (protocol.short, protocol.taught, protocols()["dc-cpu"].taught) == (False, True, False)
    assert len(trained) == 1, "the session remembers it"
