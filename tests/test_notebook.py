"""What a notebook shows of data, sets, runs and their accuracy; and a set is a torch Dataset."""

from __future__ import annotations

import dataclasses
import pickle

import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset

import refluence as rf
from refluence.evaluate.evaluation import Evaluation


def test_data_sets_and_runs_show_pictures():
    data = rf.load("digits")
    run = rf.select(data, "random", ipc=1, width=4, threads=1)
    for shown in (data, run.set, run):
        html = shown._repr_html_()
        assert html.count("data:image/png;base64,") == 10
        assert "10 classes" in html
    assert data.notes[0] in data._repr_html_()
    channels = torch.zeros(2, 2, 4, 4)
    assert (
        rf.DistilledSet(channels, torch.tensor([0, 1]), ("<a>", "b"), (0.5, 0.5), (1.0, 1.0))._repr_html_().count("<img") == 2
    )


def test_an_evaluation_shows_a_table():
    found = Evaluation("dc-cpu", "<mine>()", 5, (50.0, 60.0), 55.0, 54.0, 53.0, 1.0, ((0, 1.0),), "hard", 0.01)
    html = found._repr_html_()
    assert "<td>50.0, 60.0</td>" in html
    assert "<td>&lt;mine&gt;()</td>" in html


def test_a_set_is_a_torch_dataset():
    small = rf.DistilledSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), (0.5,), (0.25,))
    assert isinstance(small, Dataset)
    assert isinstance(small + small, ConcatDataset)
    images, labels = next(iter(DataLoader(small, batch_size=2)))
    assert (tuple(images.shape), labels.tolist()) == ((2, 1, 8, 8), [0, 1])
    again = pickle.loads(pickle.dumps(dataclasses.replace(small, lr=0.5)))
    assert (again.lr, len(again)) == (0.5, 2)
