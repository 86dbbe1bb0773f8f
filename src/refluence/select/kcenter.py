"""K-center: of each class the images that leave no image far from a chosen one (Sener and Savarese, arXiv 1708.00489).

    min over C, |C| = k, of  max_x  min_{c in C} || psi(x) - psi(c) ||

by the greedy of its sec. 4 (Algorithm 1, at most twice the optimum): again and again the point farthest from its nearest
center. psi is herding's embedding (`pretrain.py`). The source begins with what is labelled already; here the first center is
the image nearest to the class mean, and each class is covered by itself, as dataset distillation has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.select.pretrain import STEPS, embed, has_embedding, pretrain
from refluence.select.selection import Selection


def select(
    dataset: Dataset,
    counts: Sequence[int],
    spec: ModelSpec,
    rng: Rng,
    device: str | torch.device = "cpu",
    steps: int | None = None,
) -> Tensor:
    """Positions in `dataset.train`; see `Selection`. The network is, at the same seed, the one that herding trains."""
    net = pretrain(dataset, spec, rng, device, STEPS if steps is None else steps)
    chosen = []
    for label, count in enumerate(counts):
        members, features = embed(net, dataset, label, device, "kcenter")
        chosen.append(members[farthest_first(features, count)])
    return torch.cat(chosen)


def farthest_first(features: Tensor, count: int) -> Tensor:
    """Positions of `count` rows of `features` `(N, F)`, or of all N if there are fewer, in the order of choice.

    Ties go to the first row. The distance to the nearest center is kept and lowered at each choice, in float64.
    """
    features = features.cpu().double()
    taken: list[int] = []
    nearest = torch.full((len(features),), torch.inf, dtype=torch.float64)
    for k in range(min(count, len(features))):
        distance = (features - features.mean(0)).square().sum(1) if k == 0 else -nearest
        taken.append(int(distance.argmin()))
        nearest = torch.minimum(nearest, (features - features[taken[-1]]).square().sum(1))
        nearest[taken] = -1.0  # also where copies of a center are left
    return torch.tensor(taken, dtype=torch.long)


METHOD = Selection(
    "kcenter",
    "real images that leave none of their class far from a chosen one",
    select,
    STEPS,
    ("factor", "steps"),
    has_embedding,
)
