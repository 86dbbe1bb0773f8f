"""Normalisation layers by name. "instance" is GroupNorm with as many groups as channels and affine parameters, as the
dataset-distillation literature has it (Zhao et al. 2020, arXiv 2006.05929, and its code)."""

from __future__ import annotations

import math

from torch import nn

NORMS = ("instance", "group", "batch", "none")


def norm_layer(name: str, channels: int) -> nn.Module:
    """The layer for maps `(B, channels, H, W)`; "group" has four groups, or as many of them as divide the channels."""
    if name == "none":
        return nn.Identity()
    if name == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(channels if name == "instance" else math.gcd(4, channels), channels)
