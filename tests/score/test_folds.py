"""Folds: dealt class by class; with groups held against every way in which groups can be dealt."""

import itertools

import pytest
import torch

from refluence.errors import InputError
from refluence.score.folds import assign


def draw(seed):
    return torch.Generator().manual_seed(seed)


def test_folds_are_dealt_class_by_class():
    labels = torch.tensor([0] * 23 + [1] * 14 + [2] * 9)[torch.randperm(46, generator=draw(0))]
    fold_of = assign(labels, 4, draw(1))
    assert torch.equal(fold_of, assign(labels, 4, draw(1)))
    assert not torch.equal(fold_of, assign(labels, 4, draw(2)))
    for members in (labels == labels, labels == 0, labels == 1, labels == 2):
        counts = fold_of[members].bincount(minlength=4)
        assert counts.max() - counts.min() <= 1
    with pytest.raises(InputError, match="class 2 has only 9 training rows"):
        assign(labels, 10, draw(0))


def trained_on(labels, fold_of, folds):
    """Whether the networks of every fold train on every class."""
    return all(set(labels[fold_of != fold].tolist()) == set(labels.tolist()) for fold in range(folds))


@pytest.mark.parametrize("folds", [2, 3])
def test_groups_are_dealt_whenever_there_is_a_way(folds):
    """Of 150 random cases with up to 6 groups: refused if and only if no deal of groups trains every fold on every class."""
    refused = 0
    for seed in range(150):
        rng = draw(seed)
        labels, groups = torch.randint(0, 3, (12,), generator=rng), torch.randint(0, 2 + seed % 5, (12,), generator=rng)
        if int(labels.bincount(minlength=3).min()) < folds:
            continue
        ways = itertools.product(range(folds), repeat=int(groups.max()) + 1)
        if not any(trained_on(labels, torch.tensor(way)[groups], folds) for way in ways):
            with pytest.raises(InputError, match="group"):
                assign(labels, folds, draw(seed), groups)
            refused += 1
            continue
        fold_of = assign(labels, folds, draw(seed), groups)
        assert trained_on(labels, fold_of, folds)
        for group in groups.unique():
            assert len(fold_of[groups == group].unique()) == 1
        assert torch.equal(fold_of, assign(labels, folds, draw(seed), groups))
    assert refused


def test_many_groups_make_even_folds():
    rng = draw(0)
    groups, labels = torch.randint(0, 60, (600,), generator=rng), torch.randint(0, 3, (600,), generator=rng)
    counts = assign(labels, 5, draw(1), groups).bincount(minlength=5)
    assert counts.max() - counts.min() <= 30


def test_a_class_in_one_group_is_named():
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    with pytest.raises(InputError, match="all training rows of class 'dog' are in one group"):
        assign(labels, 2, draw(0), torch.tensor([0, 1, 2, 3, 3, 3]), ("cat", "dog"))
