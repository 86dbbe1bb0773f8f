"""What a few young networks say of every training image, averaged."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.select.pretrain import STEPS, outputs, pretrain

NETS = 3


def mean_over_networks(
    measure: Callable[[Tensor, Tensor], Tensor],
    dataset: Dataset,
    spec: ModelSpec,
    rng: Rng,
    device: str | torch.device,
    steps: int | None = None,
) -> Tensor:
    """`measure(logits (N, K), labels (N,))`, itself `(N,)`, of the training split: the mean over three networks, float64.

    Each is trained for `steps` steps (500 by default) and has seen what it is asked about. Randomness:
    `rng("early-network", network)` for the weights, `rng("early-batch", …)` for the batches: the same networks for every
    measure.
    """
    total, everything = torch.zeros(len(dataset.train), dtype=torch.float64), torch.arange(len(dataset.train))
    for index in range(NETS):
        net = pretrain(dataset, spec, rng, device, STEPS if steps is None else steps, "early", index)
        total += measure(outputs(net, dataset, everything, device).double(), dataset.train.labels)
    return total / NETS


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy `(N,)`."""
    return F.cross_entropy(logits, labels, reduction="none")
