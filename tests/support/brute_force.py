"""Derivatives the slow way, and how near a number has to come to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

STEP = 1e-5


def flat(named: Mapping[str, Tensor]) -> Tensor:
    """All entries as one vector."""
    return torch.cat([t.reshape(-1) for t in named.values()])


def unflat(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `flat`, with the names and shapes of `like`."""
    parts = vector.split([t.numel() for t in like.values()])
    return {name: part.view(t.shape) for part, (name, t) in zip(parts, like.items(), strict=True)}


def central(f: Callable[[Tensor], Tensor | float], w: Tensor, h: float = STEP) -> Tensor:
    """df/dw `(n,)` by central differences, in float64."""
    steps = h * torch.eye(len(w), dtype=torch.float64)
    return torch.tensor([(float(f(w + e)) - float(f(w - e))) / (2 * h) for e in steps], dtype=torch.float64)


def close(got: Tensor, want: Tensor, relative: float = 1e-6) -> None:
    """Entries may differ by this share of themselves and of the largest."""
    torch.testing.assert_close(got, want, rtol=relative, atol=relative * float(want.abs().max()))
