"""Whether the splits of a source are on one scale: 8 bits count as 0 to 1, floats as they come."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from refluence.errors import InputError

SLACK = 0.5  # floats of pictures may leave [0, 1] by this much, as after resizing
APART = 16.0  # ranges whose widths differ by this factor are two scales


def one_scale(images: Mapping[str, Tensor], where: Mapping[str, str]) -> None:
    """`InputError` where splits of floats and 8 bits, or of floats alone, can hardly be on one scale.

    `images`: by split; `where`: what messages call each.
    """
    if all(part.dtype == torch.uint8 for part in images.values()):
        return
    ranges = {name: _range(part) for name, part in images.items()}
    first, *others = ranges
    for name in others:
        if _apart(ranges[first], ranges[name]):
            both = " and ".join(f"{where[each]} {_said(images[each], ranges[each])}" for each in (first, name))
            raise InputError(f"{both} are not on one scale: bring both to 0 to 1, or both to what the network expects")


def _range(images: Tensor) -> tuple[float, float]:
    if images.dtype == torch.uint8:
        return 0.0, 1.0
    low, high = images.aminmax()
    return float(low), float(high)


def _apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    widths = sorted(high - low for low, high in (one, other))
    return _is_unit(one) != _is_unit(other) or (not _is_unit(one) and widths[1] > APART * widths[0])


def _is_unit(ends: tuple[float, float]) -> bool:
    return ends[0] >= -SLACK and ends[1] <= 1 + SLACK


def _said(images: Tensor, ends: tuple[float, float]) -> str:
    if images.dtype == torch.uint8:
        return "(8 bits, which count as 0 to 1)"
    return f"(floats from {ends[0]:.4g} to {ends[1]:.4g})"
