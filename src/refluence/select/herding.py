"""Herding: of each class the images whose mean embedding follows the class mean (Welling 2009; iCaRL, arXiv 1611.07725).

Greedy, in the embedding psi of a network trained on the real training set, with mean mu of the class and sum s_k of the
k chosen so far:

    next = argmin over the not yet chosen of || (k + 1) mu - s_k - psi(x) ||

so that each choice brings the mean of the chosen as near to mu as one more image can. With weights mu is
the weighted mean. The network is that of `pretrain.py`.
The order of the choice is kept: the first k images are what herding would choose for k.
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
    weights: Tensor | None = None,
) -> Tensor:
    """Positions in `dataset.train`; see `Selection`. `steps` are those of the network's training, 500 by default.

    Raises `RunError` if the network's embedding is not finite.
    """
    net = pretrain(dataset, spec, rng, device, STEPS if steps is None else steps)
    chosen = []
    for label, count in enumerate(counts):
        members, features = embed(net, dataset, label, device, "herding")
        chosen.append(members[herd(features, count, None if weights is None else weights[members])])
    return torch.cat(chosen)


def herd(features: Tensor, count: int, weights: Tensor | None = None, mean: Tensor | None = None) -> Tensor:
    """Positions of `count` rows of `features` `(N, F)`, or of all N if there are fewer, in the order of choice.

    They follow `mean (F,)`, by default that of the rows, with `weights (N,)`.

    ||t - psi||^2 is compared without its constant ||t||^2, in float64: one matrix-vector product a choice.
    """
    features = features.cpu().double()  # MPS has no float64
    if mean is None:
        mean = features.mean(0) if weights is None else weighted_mean(features, weights)
    mean = mean.to(features)
    chosen_sum = features.new_zeros(features.shape[1])
    score = features.square().sum(1)
    taken: list[int] = []
    for k in range(min(count, len(features))):
        distance = score - 2 * (features @ ((k + 1) * mean - chosen_sum))
        distance[taken] = torch.inf
        taken.append(int(distance.argmin()))
        chosen_sum = chosen_sum + features[taken[-1]]
    return torch.tensor(taken, dtype=torch.long)


def weighted_mean(features: Tensor, weights: Tensor) -> Tensor:
    """sum_j w_j psi_j / sum_j w_j; the plain mean where nothing weighs anything."""
    weights = weights.to(features)
    return weights @ features / weights.sum() if weights.sum() > 0 else features.mean(0)


METHOD = Selection(
    "herding",
    "real images whose mean embedding follows the class mean",
    select,
    STEPS,
    ("factor", "steps"),
    has_embedding,
    weighs=True,
)
