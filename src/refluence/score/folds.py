"""Training rows dealt into folds, class by class."""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.errors import InputError


def assign(labels: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """The fold `(N,)` int64 of each row: dealt out class by class in an order from `generator`, sizes differ by at most 1.

    Raises `InputError` where a class has fewer rows than there are folds.
    """
    fold_of = torch.empty(len(labels), dtype=torch.int64)
    dealt = 0
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        if len(members) < folds:
            raise InputError(f"folds is {folds}: class {label} has only {len(members)} training rows")
        order = members[torch.randperm(len(members), generator=generator)]
        fold_of[order] = (torch.arange(len(order)) + dealt) % folds
        dealt += len(order)
    return fold_of
