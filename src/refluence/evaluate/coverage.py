"""How much of the real images a small set reaches (IGD, ICLR 2025, A.8).

    coverage = |{x real, not of the set : min_s |phi(x) - phi(s)| <= r}| / |{x real, not of the set}|

A real image that the set holds itself is left out of both counts: else a random selection would cover its own images for
nothing. The source's r is 300 in the features of an Inception network. Ours, which follows the features by itself: r is the
median distance of a real image to the nearest other real one (`spacing`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from refluence.errors import InputError

CHUNK = 1024  # rows whose distances are held at once


@dataclass(frozen=True)
class Coverage:
    """The share of the `counted` real images that are covered, within `threshold`; `own` were left out."""

    share: float
    threshold: float
    counted: int
    own: int


def nearest(rows: Tensor, others: Tensor) -> Tensor:
    """The distance `(n,)` of each row `(n, F)` to the nearest of `others (m, F)`."""
    return torch.cat([torch.cdist(part.double(), others.double()).amin(1) for part in rows.split(CHUNK)])


def spacing(real: Tensor) -> float:
    """The median distance of a real image to the nearest other one, by features `(n, F)`, n at least 2."""
    if len(real) < 2:
        raise InputError(f"a distance to the nearest other real image takes two of them: there is {len(real)}")
    found = []
    for start in range(0, len(real), CHUNK):
        apart = torch.cdist(real[start : start + CHUNK].double(), real.double())
        apart[torch.arange(len(apart)), torch.arange(start, start + len(apart))] = torch.inf
        found.append(apart.amin(1))
    return float(torch.cat(found).median())


def coverage(real: Tensor, small: Tensor, own: Tensor | None = None, threshold: float | None = None) -> Coverage:
    """The coverage of real images by a set, both as features.

    Args:
        real: `(n, F)`.
        small: `(m, F)`.
        own: `(n,)` bool: the real images that the set holds itself.
        threshold: the distance within which an image is covered; None: `spacing(real)`.

    Raises:
        InputError: a set that holds every real image.

    Example:
        >>> import torch
        >>> real = torch.tensor([[0.0], [1.0], [2.0], [9.0]])
        >>> coverage(real, torch.tensor([[1.0]])).share
        0.75
        >>> coverage(real, torch.tensor([[1.0]]), own=torch.tensor([False, True, False, False])).counted
        3
    """
    counted = torch.ones(len(real), dtype=torch.bool) if own is None else ~own
    if not counted.any():
        raise InputError(f"coverage: the set holds all of the {len(real)} real images itself, and none is left to be covered")
    threshold = spacing(real) if threshold is None else threshold
    covered = nearest(real[counted], small) <= threshold
    return Coverage(float(covered.double().mean()), threshold, int(counted.sum()), int((~counted).sum()))


def held(real: Tensor, small: Tensor) -> Tensor:
    """Which real images `(n,)` bool a set holds pixel for pixel: images `(n, C, H, W)` and `(m, C, H, W)`, both uint8."""
    known = {image.numpy().tobytes() for image in small.cpu().contiguous()}
    return torch.tensor([image.numpy().tobytes() in known for image in real.cpu().contiguous()], dtype=torch.bool)
