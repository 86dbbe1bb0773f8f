"""Weights of a whole split from one score an instance: in bags of one class, or of everything."""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.influence.weighting import Weighting, weights
from refluence.seeds import Rng


def bag_weights(
    score: Tensor, loss: Tensor, labels: Tensor, weighting: Weighting, rng: Rng, *, classes: int, seen: Tensor | None = None
) -> Tensor:
    """The weights of all instances of a split.

    Args:
        score: `(N,)` dM/dw_j.
        loss: `(N,)`, read by the kind "loss".
        labels: `(N,)` in 0 … `classes` - 1.
        weighting: kind and link; bags are classes, unless `bag="all"`: then there is one.
        rng: what the kinds "shuffled" and "random" draw from, one stream a bag.
        classes: the number of classes.
        seen: `(N,)` bool; the others weigh 1 and are in no bag (default: all are seen).

    Returns:
        omega `(N,)` in float64.

    Example:
        >>> import torch
        >>> from refluence.influence import Weighting, bag_weights
        >>> from refluence.seeds import streams
        >>> score, labels = torch.arange(12.0), torch.arange(12) % 2
        >>> omega = bag_weights(score, score, labels, Weighting("influence", tau=1e-9), streams(0), classes=2)
        >>> omega.nonzero().flatten().tolist(), omega[-2:].tolist()
        ([10, 11], [6.0, 6.0])
    """
    value = (loss if weighting.kind == "loss" else score).double()
    omega = torch.ones_like(value)
    whole = weighting.bag == "all"
    bags = [torch.arange(len(value))] if whole else [(labels == c).nonzero().flatten() for c in range(classes)]
    for number, bag in enumerate(bags):
        members = bag if seen is None else bag[seen[bag]]
        omega[members] = weights(value[members], weighting, rng("class-weights", number))
    return omega
