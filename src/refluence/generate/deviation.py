"""The deviation energy: how alike a sample is to the nearest image of its class that is there already (IGD eq. 8).

    G_D(z) = max over m of M_c of cos(z, m)
    grad   = (m* / |m*| - cos(z, m*) z / |z|) / |z|            m* the nearest; it is at most 1 / |z| long

M_c holds the finished images of the class (memory.py) and the other images of the class in the same batch, as they are now.
A class without any has energy 0. For latents of d numbers with |z| near sqrt(d), gamma grad is gamma / d of z at most: so
gamma, published for d = 4,096, is scaled by d / 4,096 (ours).
"""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.generate.settings import Guidance

PUBLISHED = 4096  # numbers in a latent of 4 x 32 x 32


def deviation(z: Tensor, y: Tensor, finished: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The energy `(B,)` of samples `z` `(B, ...)` of classes `y` `(B,)`, and its gradient by `z`, shaped like it.

    `finished (M, ...)` are images that are there already, of classes `labels` `(M,)`; the other samples of the batch count too,
    and nothing is differentiated by them.

    Example:
        >>> z = torch.tensor([[3.0, 0.0]])
        >>> energy, gradient = deviation(z, torch.tensor([0]), torch.tensor([[1.0, 1.0]]), torch.tensor([0]))
        >>> round(float(energy), 3), [round(g, 3) for g in gradient[0].tolist()]
        (0.707, [0.0, 0.236])
    """
    flat = z.flatten(1)
    size = flat.norm(dim=1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
    ours = flat / size
    others = torch.cat([ours, torch.nn.functional.normalize(finished.to(z).flatten(1), dim=1)])
    alike = torch.cat([y, labels]) == y[:, None]
    alike.fill_diagonal_(False)
    cosines = (ours @ others.T).masked_fill(~alike, -torch.inf)
    energy, nearest = cosines.max(1)
    alone = ~alike.any(1)
    energy = energy.masked_fill(alone, 0.0)
    gradient = (others[nearest] - energy[:, None] * ours) / size
    return energy, gradient.masked_fill(alone[:, None], 0.0).view_as(z)


def gamma_of(guidance: Guidance, numbers: int) -> float:
    """gamma_t, the same at every step, for images of so many numbers."""
    return guidance.gamma * numbers / PUBLISHED if guidance.scaled_gamma else guidance.gamma
