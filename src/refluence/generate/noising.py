"""Real images as a denoiser learns from them: encoded, noised at a time of their own, some of them without their label."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from refluence.data.dataset import Split, unit
from refluence.generate.denoiser import NO_NULL, Denoiser
from refluence.generate.predictions import prediction


@dataclass(frozen=True)
class Noised:
    """Some images: `z0` and, as the network sees them, `x`, both `(B, C, H, W)`; times `t` and the network's labels `(B,)`;
    `target`, what it should give."""

    z0: Tensor
    x: Tensor
    t: Tensor
    label: Tensor
    target: Tensor


def noised(
    denoiser: Denoiser,
    split: Split,
    rows: Tensor,
    drop: float,
    generator: torch.Generator,
    device: torch.device,
    encoded: Tensor | None = None,
) -> Noised:
    """The images at `rows (B,)` of a split. A label becomes the null class with probability `drop`, drawn once for a sample; it
    stays where the denoiser has no null class.

    `generator` draws times, dropped labels and noise, in this order. `encoded`: all images of the split, if there.
    """
    kind = prediction(denoiser.config.prediction)
    t = kind.times(len(rows), generator)
    dropped = torch.rand(len(rows), generator=generator) < drop
    z0 = denoiser.encode(unit(split.images[rows].to(device))) if encoded is None else encoded[rows].to(device)
    noise = torch.randn(z0.shape, generator=generator).to(device)
    label = denoiser.label(split.labels[rows])
    if denoiser.null != NO_NULL:
        label = torch.where(dropped, denoiser.null_label, label)
    x, target = kind.training_pair(z0, noise, t.to(device), denoiser.abar)
    return Noised(z0, x, t.to(device), label.to(device), target)


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """The mean over the numbers of each image `(B,)`."""
    return (output - target).square().flatten(1).mean(1)
