"""Random: real images of each class, drawn without replacement. The row that every method has to beat.

Uniformly; or, with weights, one after the other with probability proportional to the weight of each that is left, as the
largest log(u_j) / w_j are for u_j uniform in (0, 1) (Efraimidis and Spirakis 2006).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.select.selection import Selection


def select(
    dataset: Dataset,
    counts: Sequence[int],
    spec: ModelSpec,
    rng: Rng,
    device: str | torch.device = "cpu",
    steps: int | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Positions in `dataset.train`; see `Selection`. Each class has its own generator, `rng("select-random", class)`."""
    chosen = []
    for label, count in enumerate(counts):
        members, generator = dataset.train.members(label), rng("select-random", label)
        if weights is None:
            order = torch.randperm(len(members), generator=generator)
        else:
            order = weighted_order(weights[members], generator)
        chosen.append(members[order[:count]])
    return torch.cat(chosen)


def weighted_order(weights: Tensor, generator: torch.Generator) -> Tensor:
    """An order of `(n,)` in which each next one is drawn in proportion to its weight; those that weigh 0 come last."""
    chance = 1 - torch.rand(len(weights), generator=generator, dtype=torch.float64)  # in (0, 1]
    return (chance.log() / weights.double()).nan_to_num(nan=-torch.inf).argsort(descending=True)


METHOD = Selection("random", "real images, drawn uniformly from each class", select, weighs=True)
