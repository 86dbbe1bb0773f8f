"""EL2N: the images that young networks are most wrong about (Paul et al. 2021, arXiv 2107.07075, def. 2.2).

    score = E_theta || softmax(f_theta(x)) - onehot(y) ||_2        theta a few epochs into training

The largest are chosen: the published rule (`easiest`: the smallest). The source averages over ten networks at epoch 20 or so;
ours are three of `pretrain.py`, each after 500 steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.select.pretrain import STEPS
from refluence.select.ranking import highest
from refluence.select.selection import Selection
from refluence.select.young_networks import mean_over_networks


def select(
    dataset: Dataset,
    counts: Sequence[int],
    spec: ModelSpec,
    rng: Rng,
    device: str | torch.device = "cpu",
    steps: int | None = None,
    easiest: bool = False,
) -> Tensor:
    """Positions in `dataset.train`; see `Selection`."""
    scores = mean_over_networks(error_norm, dataset, spec, rng, device, steps)
    return highest(-scores if easiest else scores, dataset, counts, rng, "el2n")


def error_norm(logits: Tensor, labels: Tensor) -> Tensor:
    """|softmax - onehot|_2 `(N,)` of logits `(N, K)` and labels `(N,)`."""
    return (torch.softmax(logits, 1) - F.one_hot(labels, logits.shape[1])).norm(dim=1)


METHOD = Selection(
    "el2n", "real images that young networks are most wrong about", select, STEPS, ("factor", "steps", "easiest")
)
