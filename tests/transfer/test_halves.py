"""The validation split in two."""

import pytest
import torch

from refluence.data.dataset import Split
from refluence.errors import InputError
from refluence.transfer.halves import halves


def split_of(labels, rows):
    return Split(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels, rows)


def test_halves_are_disjoint_whole_stratified_and_follow_the_row():
    labels, rows = torch.arange(90) % 3, torch.arange(90) * 7 + 3
    weighing, watching = halves(split_of(labels, rows))
    assert sorted([*weighing.tolist(), *watching.tolist()]) == list(range(90))
    assert labels[watching].bincount().tolist() == labels[weighing].bincount().tolist() == [15, 15, 15]
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    again = halves(split_of(labels[order], rows[order]))
    assert {int(r) for r in rows[order][again[1]]} == {int(r) for r in rows[watching]}


def test_a_class_with_one_row_makes_weights_and_nothing_to_watch_is_refused():
    weighing, watching = halves(split_of(torch.tensor([0, 0, 1]), torch.arange(3)))
    assert 2 in weighing.tolist()
    assert len(watching) == 1
    with pytest.raises(InputError, match="the validation split has 2 instances and no class with two"):
        halves(split_of(torch.tensor([0, 1]), torch.arange(2)))
