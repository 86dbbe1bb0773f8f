"""Batch norm while matching: statistics of a few real images, then frozen, as DC's code has it (arXiv 2006.05929)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from refluence.data.dataset import Dataset

NORM_BATCH = 16  # real images per class


def freeze_norm_statistics(
    net: nn.Module, dataset: Dataset, members: Sequence[Tensor], generator: torch.Generator, device: torch.device | str
) -> None:
    """Batch norm: 16 real images per class in training mode, then frozen statistics (DC's code). Other norms: nothing."""
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return
    chosen = torch.cat([m[torch.randperm(len(m), generator=generator)[:NORM_BATCH]] for m in members])
    net.train()
    with torch.no_grad():
        net(dataset.pixels(dataset.train, chosen, device))
    for norm in norms:
        norm.eval()
