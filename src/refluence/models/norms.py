"""Normalisation layers by name. "instance" is GroupNorm with as many groups as channels and affine parameters, as the
dataset-distillation literature has it (Zhao et al. 2020, arXiv 2006.05929, and its code)."""

from __future__ import annotations

import math

from torch import nn


def norm_layer(name: str, channels: int, size: tuple[int, ...] = ()) -> nn.Module:
    """The layer for maps `(B, channels, H, W)`; "group" has four groups, or as many of them as divide the channels.

    "layer" normalises a whole map and has affine parameters `(channels, H, W)`: it alone needs `size`.
    """
    if name == "none":
        return nn.Identity()
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "layer":
        return nn.LayerNorm((channels, *size))
    return nn.GroupNorm(channels if name == "instance" else math.gcd(4, channels), channels)
