"""CutMix and MixUp: two images of a batch in one, and the loss in the same shares.

    CutMix  lambda ~ Beta(a, a); a box of sides floor(side sqrt(1 - lambda)) around a centre drawn uniformly, cut off at the
            border, the same for the whole batch, is taken from image pi(i); share = 1 - area of the box / area of the image
    MixUp   share = lambda ~ Beta(a, a);  lambda x_i + (1 - lambda) x_pi(i)

    loss = share * loss(y_i) + (1 - share) * loss(y_pi(i)),  pi a permutation of the batch

CutMix: Yun et al. 2019 (arXiv 1905.04899), in the form of IDC's code (arXiv 2205.14959), which SRe2L, RDED, NCFM and PDD use
too: a box reaches half its side, rounded down, to both sides of its centre. MixUp: Zhang et al. 2017 (arXiv 1710.09412).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.special import betaincinv
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """A draw: `partner (B,)` int64, `share` of the own image, `box` (top, bottom, left, right), None for MixUp."""

    partner: Tensor
    share: float
    box: tuple[int, int, int, int] | None = None

    def apply(self, x: Tensor) -> Tensor:
        """Mixed images `(B, C, H, W)`; out of place."""
        other = x[self.partner.to(x.device)]
        if self.box is None:
            return self.share * x + (1 - self.share) * other
        top, bottom, left, right = self.box
        mixed = x.clone()
        mixed[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
        return mixed


def draw(
    kind: str, probability: float, alpha: float, batch: int, size: tuple[int, int], generator: torch.Generator
) -> Mix | None:
    """A mix for a batch of images of `size` (H, W) from a CPU generator, or None where this batch is left as it is."""
    if kind == "none" or float(torch.rand((), generator=generator)) >= probability:
        return None
    uniform = float(torch.rand((), generator=generator, dtype=torch.float64))
    share = float(betaincinv(alpha, alpha, uniform))  # the quantile function: Beta(alpha, alpha) from a uniform draw
    partner = torch.randperm(batch, generator=generator)
    if kind == "mixup":
        return Mix(partner, share)
    (top, bottom), (left, right) = (_edge(side, share, generator) for side in size)
    return Mix(partner, 1 - (bottom - top) * (right - left) / math.prod(size), (top, bottom, left, right))


def _edge(side: int, share: float, generator: torch.Generator) -> tuple[int, int]:
    """First and last + 1 pixel of the box along one side."""
    half = int(side * math.sqrt(1 - share)) // 2
    centre = int(torch.randint(side, (), generator=generator))
    return max(centre - half, 0), min(centre + half, side)
