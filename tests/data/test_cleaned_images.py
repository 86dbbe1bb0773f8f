"""Pictures of instances that an arm left out or relabelled: the worst of each class, with the labels before and after."""

import pytest
import torch
from safetensors.torch import load_file

import refluence as rf
from refluence.data import cleaned_images
from refluence.data.clean import LABELLED, LABELS, ROWS


@pytest.fixture(scope="module")
def noisy():
    return rf.load("digits", noise="symmetric:0.4")


def test_the_worst_of_each_class_that_are_left_out(noisy, tmp_path):
    train = noisy.train
    goodness = torch.arange(len(train)).flip(0).double()  # the last are worst
    cleaned_images.save(noisy, {ROWS: train.rows[:-200], "scores": goodness}, tmp_path)
    found = load_file(tmp_path / cleaned_images.FILE)
    dropped = torch.arange(len(train))[-200:]
    expected = [int(i) for c in range(10) for i in dropped[train.labels[-200:] == c].flip(0)[:2]]
    at = torch.tensor(expected)
    assert torch.equal(found["rows"], train.rows[at])
    assert torch.equal(found["labels"], train.labels[at])
    assert torch.equal(found["to"], train.labels[at])
    assert torch.equal(found["stored"], train.stored[at])
    assert torch.equal(found["images"], train.pictures(at))
    assert found["images"].dtype == torch.uint8


def test_relabelled_ones_have_the_label_that_they_got(tmp_path):
    data = rf.load("digits")
    train = data.train
    rows, labels = train.rows[[5, 3]], torch.tensor([7, 8])
    cleaned_images.save(data, {LABELLED: rows, LABELS: labels, "scores": torch.zeros(len(train))}, tmp_path)
    found = load_file(tmp_path / cleaned_images.FILE)
    given = dict(zip(rows.tolist(), labels.tolist(), strict=True))
    assert {int(row): int(to) for row, to in zip(found["rows"], found["to"], strict=True)} == given
    assert found["stored"].tolist() == [-1, -1]


def test_nothing_is_written_where_no_row_is_changed(noisy, tmp_path):
    train = noisy.train
    cleaned_images.save(noisy, {ROWS: train.rows, "scores": torch.zeros(len(train))}, tmp_path)
    cleaned_images.save(noisy, {"weights": torch.ones(len(train)), "scores": torch.zeros(len(train))}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_other_end_is_shown_where_that_is_left_out(noisy, tmp_path):
    train = noisy.train
    goodness = torch.arange(len(train)).double()  # of the other end the last are worst
    cleaned_images.save(noisy, {ROWS: train.rows[:-200], "scores": goodness}, tmp_path, sign=-1)
    last = [int(i) for c in range(10) for i in train.members(c).flip(0)[:2]]
    assert torch.equal(load_file(tmp_path / cleaned_images.FILE)["rows"], train.rows[torch.tensor(last)])


def test_rows_that_keep_their_label_are_not_shown(tmp_path):
    data = rf.load("digits")
    train = data.train
    labels = torch.where(torch.arange(40) % 2 == 0, train.labels[:40], (train.labels[:40] + 1) % 10)
    found = {LABELLED: train.rows[:40], LABELS: labels, "scores": torch.arange(len(train)).double()}
    cleaned_images.save(data, found, tmp_path)
    shown = load_file(tmp_path / cleaned_images.FILE)
    assert set(shown["rows"].tolist()) <= set(train.rows[1:40:2].tolist())
    assert (shown["to"] == (shown["labels"] + 1) % 10).all()
