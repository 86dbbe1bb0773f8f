"""A few samples of a denoiser, without guidance, to look at."""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.data.distilled import DistilledSet
from refluence.generate.denoiser import Denoiser
from refluence.generate.settings import Settings
from refluence.generate.work import SamplingWork
from refluence.seeds import Rng

FILE = "samples.safetensors"
EACH, CLASSES = 4, 10


def few_samples(denoiser: Denoiser, dataset: Dataset, rng: Rng, compute: Compute) -> dict[str, Tensor]:
    """uint8 `images` `(M, C, H, W)` and `labels` `(M,)`: `EACH` of the first `CLASSES` classes."""
    counts = tuple(EACH if c < CLASSES else 0 for c in range(len(dataset.classes)))
    work = SamplingWork(Settings(), denoiser, None, dataset, counts, rng, compute)
    for _ in work.steps():
        pass
    small = work.artifact()
    assert isinstance(small, DistilledSet), "what samplings make"
    mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (small.mean, small.std))
    pixels = (small.images * std + mean).clamp(0, 1)
    return {"images": (255 * pixels).round().to(torch.uint8), "labels": small.labels}
