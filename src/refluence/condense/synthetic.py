"""What is learned: pixels, and where they start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.data.dataset import Dataset


def initial_images(
    dataset: Dataset, members: Sequence[Tensor], counts: Sequence[int], how: str, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images `(M, C, H, W)` in normalised units and labels `(M,)`, class by class: Gaussian noise or random real images."""
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    if how == "noise":
        return torch.randn((len(labels), *dataset.shape), generator=generator), labels
    chosen = [m[torch.randperm(len(m), generator=generator)[:n]] for m, n in zip(members, counts, strict=True)]
    return dataset.pixels(dataset.train, torch.cat(chosen)), labels
