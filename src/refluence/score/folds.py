"""Training rows dealt into folds, class by class; rows of one group stay together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.errors import InputError

ORDERS = 50  # in which groups are dealt, until every class is in two folds


def assign(
    labels: Tensor,
    folds: int,
    generator: torch.Generator,
    groups: Tensor | None = None,
    classes: Sequence[str] | None = None,
) -> Tensor:
    """The fold of each row, so that the networks of every fold train on every class.

    Args:
        labels: `(N,)`, classes.
        folds: how many.
        generator: what the order follows from.
        groups: `(N,)`, numbers; rows of one group are in one fold. None: each row may go anywhere.
        classes: their names, for messages.

    Returns:
        `(N,)` int64. Without groups the sizes of folds differ by at most 1, in all and of each class; with groups they are as
        even as a greedy deal makes them, the largest group first.

    Raises:
        InputError: a class with fewer rows than there are folds, or one that groups keep in a single fold.

    Example:
        >>> labels, groups = torch.tensor([0, 0, 1, 1, 0, 1]), torch.tensor([7, 7, 7, 8, 8, 9])
        >>> fold_of = assign(labels, 2, torch.Generator().manual_seed(0), groups)
        >>> [len(fold_of[groups == group].unique()) for group in (7, 8, 9)]
        [1, 1, 1]
    """
    for label in labels.unique().tolist():
        if (count := int((labels == label).sum())) < folds:
            raise InputError(f"folds is {folds}: {_name(label, classes)} has only {count} training rows")
    if groups is not None:
        return _assign_groups(labels, folds, generator, groups, classes)
    fold_of = torch.empty(len(labels), dtype=torch.int64)
    dealt = 0
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        order = members[torch.randperm(len(members), generator=generator)]
        fold_of[order] = (torch.arange(len(order)) + dealt) % folds
        dealt += len(order)
    return fold_of


def _assign_groups(
    labels: Tensor, folds: int, generator: torch.Generator, groups: Tensor, classes: Sequence[str] | None
) -> Tensor:
    """Several orders of the groups, the first by size, until no class is in one fold alone."""
    present, label_of = labels.unique(return_inverse=True)
    named, group_of = groups.unique(return_inverse=True)
    held = torch.zeros(len(named), len(present), dtype=torch.float64)  # rows of each class in each group
    held.index_put_((group_of, label_of), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
    single = (held > 0).sum(0) < 2
    if bool(single.any()):
        name = _name(int(present[single][0]), classes)
        raise InputError(f"all training rows of {name} are in one group, which stays together: no fold can hold it out")
    for attempt in range(ORDERS):
        order = torch.randperm(len(named), generator=generator)
        if attempt == 0:
            order = order[held.sum(1)[order].argsort(descending=True, stable=True)]
        fold_of, fullest = _deal(held, order, folds)
        if float(fullest.max()) < 1 - 1e-9:
            return fold_of[group_of]
    name = _name(int(present[fullest.argmax()]), classes)
    raise InputError(
        f"folds is {folds}: groups, which stay together, put all training rows of {name} into one fold; other groups, or "
        "another number of folds, may do"
    )


def _deal(held: Tensor, order: Tensor, folds: int) -> tuple[Tensor, Tensor]:
    """Groups dealt in an order, each to the fold that has least of its classes: the fold of each group, and the largest share
    of each class that a fold has."""
    share, size = held / held.sum(0), held.sum(1) / held.sum()
    filled, rows = torch.zeros(folds, held.shape[1], dtype=torch.float64), torch.zeros(folds, dtype=torch.float64)
    fold_of = torch.empty(len(held), dtype=torch.int64)
    for group in order.tolist():
        fold = int(((filled * share[group]).sum(1) + 1e-9 * rows).argmin())
        fold_of[group] = fold
        filled[fold] += share[group]
        rows[fold] += size[group]
    return fold_of, filled.max(0).values


def _name(label: int, classes: Sequence[str] | None) -> str:
    return f"class {label}" if classes is None else f"class '{classes[label]}'"
