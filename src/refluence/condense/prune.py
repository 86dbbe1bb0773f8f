"""Prune, then distil: rank the real instances once, leave some out, distil from the rest with equal weights.

    kept_c = the k_c = keep * n_c (rounded, at least 1) instances of class c with the largest sign * score

    dc+pruned            score = influence, keep .9    Influence-Prune-then-Distill (IWD, arXiv 2510.27253, sec. 5.2)
    dc+pruned:by=loss    score = -loss, keep .2        loss-value pruning (arXiv 2411.12115): the easy end stays
    dc+pruned:by=random  no score, keep .9             control (ours)
    dc+selected          the same, keep .1             only the best few (ours)

arXiv 2411.12115 keeps easy samples and reports gains even where 80 % of the set were removed (its abstract, all that is taken
over); .2 is that share, and no claim that it is its best one. Ranking inside each class, and by networks of ours, is ours.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.errors import NoRoomError, RunError, option


def kept_count(members: int, keep: float) -> int:
    """How many of a class's `members` stay."""
    return max(1, math.floor(keep * members + 0.5))


def kept(scores: Tensor, dataset: Dataset, keep: float, sign: int = 1) -> Tensor:
    """Positions in `dataset.train`, ascending, of the largest sign * `scores` `(N,)` of each class; ties go by position."""
    if scores.isnan().any():
        raise RunError(f"{int(scores.isnan().sum())} of {len(scores)} scores to prune by are not numbers")
    chosen = []
    for label in range(len(dataset.classes)):
        members = dataset.train.members(label)
        order = (sign * scores[members]).argsort(descending=True, stable=True)
        chosen.append(members[order[: kept_count(len(members), keep)]])
    return torch.cat(chosen).sort().values


def restrict(dataset: Dataset, positions: Tensor) -> Dataset:
    """The same dataset with only these training instances: rows, validation, test, mean and std stay as they are.

    Their images are copied into memory, unless all are kept.
    """
    train = dataset.train
    if len(positions) == len(train):
        return dataset
    return replace(dataset, train=train.take(positions))


def check_share(dataset: Dataset, counts: tuple[int, ...], keep: float) -> None:
    """`NoRoomError` where a class would keep fewer real images than it gets distilled ones."""
    members = [len(dataset.train.members(label)) for label in range(len(counts))]
    label = min(range(len(counts)), key=lambda c: members[c] / counts[c])
    left = kept_count(members[label], keep)
    if left < counts[label]:
        share = math.ceil(100 * counts[label] / members[label]) / 100
        raise NoRoomError(
            f"keep={keep:g} leaves {left} of the {members[label]} training images of class '{dataset.classes[label]}', fewer "
            f"than its {counts[label]} distilled ones: keep={share:g} or a smaller {option('ipc')} would do"
        )
