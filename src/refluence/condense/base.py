"""What a distillation method declares (one page each): statistic x discrepancy x what is learned x inner data x schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from refluence.errors import InputError
from refluence.matching import augment
from refluence.matching.discrepancies import RowCosine


@dataclass(frozen=True)
class Settings:
    """Every number of a run. None of them is hidden in the loop."""

    ipc: int
    iterations: int  # image-optimiser steps in all
    outer: int  # image steps per network initialisation
    inner: int  # epochs of network training on S between two image steps
    real_batch: int = 256  # real images per class
    image_lr: float = 0.1
    image_momentum: float = 0.5
    net_lr: float = 0.01
    net_batch: int = 256
    initial: str = "noise"  # or "real": random training images
    augmentation: str = ""  # "" or a Siamese strategy such as color_crop_cutout_flip_scale_rotate
    allocation: str = "equal"  # or "proportional": images per class by class size

    def __post_init__(self):
        for name in ("ipc", "iterations", "outer", "real_batch", "net_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}: it must be at least 1")
        if self.inner < 0:
            raise InputError(f"inner is {self.inner}: it must be 0 (no network training) or more")
        for name in ("image_lr", "net_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}: it must be a finite number above 0")
        if not 0 <= self.image_momentum < 1:
            raise InputError(f"image_momentum is {self.image_momentum}: it must be 0 (none) or more, and below 1")
        if self.augmentation:
            augment.parse(self.augmentation)
        if self.initial not in ("noise", "real"):
            raise InputError(f"initial is '{self.initial}': choose noise or real")
        if self.allocation not in ("equal", "proportional"):
            raise InputError(f"--allocation is '{self.allocation}': choose equal or proportional")

    def with_(self, **changes) -> Settings:
        """A copy with some numbers changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Method:
    """A declaration. `settings(ipc, size)` gives the published numbers at size `paper` and short ones at size `cpu`."""

    name: str
    summary: str
    source: str
    discrepancy: RowCosine
    settings: Callable[[int, str], Settings]
