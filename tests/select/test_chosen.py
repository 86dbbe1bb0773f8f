"""What a selection of one's own returns: anything but the positions that are asked for is refused in a line."""

from __future__ import annotations

import pytest
import torch

import refluence as rf
from refluence.errors import InputError


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


def first(dataset, counts):
    return torch.cat([dataset.train.members(label)[:count] for label, count in enumerate(counts)])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda data, counts: None, "returned a NoneType: expected positions"),
        (lambda data, counts: first(data, counts).tolist(), "returned a list: expected"),
        (lambda data, counts: first(data, counts).float(), "returned a tensor float32 .*: expected"),
        (lambda data, counts: first(data, counts)[None], "returned a tensor int64 .*: expected"),
        (lambda data, counts: torch.zeros(20, dtype=torch.int64), "the position 0 20 times"),
        (lambda data, counts: first(data, counts) + 10_000, "the position 1....: train has 0 … 1294"),
        (lambda data, counts: data.train.members(0)[:3], "3 images of class '0': 2 are asked for"),
        (lambda data, counts: first(data, counts)[:-1], "1 images of class '9': 2 are asked for"),
    ],
)
def test_wrong_positions_are_refused(data, wrong, said):
    mine = rf.Selection("mine", "", lambda dataset, counts, *rest: wrong(dataset, counts))
    with pytest.raises(InputError, match=said):
        rf.select(data, mine, ipc=2)


def test_what_is_asked_for_all_of_a_small_class_and_all_images_are_right(data):
    mine = rf.Selection("mine", "", lambda dataset, counts, *rest: first(dataset, counts))
    whole = rf.Selection("whole", "", lambda dataset, counts, *rest: torch.arange(len(dataset.train)))
    assert len(rf.select(data, mine, ipc=2).set) == 20
    assert len(rf.select(rf.load("digits", small_classes="cap"), mine, ipc=130).set) < 1300
    assert len(rf.select(data, whole, ipc=2).set) == len(data.train)
