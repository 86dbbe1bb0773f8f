"""The best of each class by a score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.seeds import Rng


def highest(scores: Tensor, dataset: Dataset, counts: Sequence[int], rng: Rng, name: str) -> Tensor:
    """Positions of the `counts[class]` highest of `scores` `(N,)` in each class, class by class, the highest first.

    Ties are broken at random by `rng(f"{name}-ties", class)` (ours): many instances may share a count. Raises `RunError`, in
    the name of the selection `name`, at scores that are not numbers.
    """
    if scores.isnan().any():
        raise RunError(f"{name}: {int(scores.isnan().sum())} of {len(scores)} scores are not numbers: pre-training diverged")
    chosen = []
    for label, count in enumerate(counts):
        members = dataset.train.members(label)
        members = members[torch.randperm(len(members), generator=rng(f"{name}-ties", label))]
        chosen.append(members[scores[members].argsort(descending=True, stable=True)[:count]])
    return torch.cat(chosen)
