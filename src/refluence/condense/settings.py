"""Every number of a distillation run. None of them is hidden in the loop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from refluence.errors import InputError
from refluence.matching import augment
from refluence.matching.discrepancies import BY_NAME

CHOICES = {
    "initial": ("noise", "real", "cluster"),
    "image_optimiser": ("sgd", "adamw"),
    "allocation": ("equal", "proportional"),
    "distance": ("", *BY_NAME),
}
MOST = 2**31 - 1  # of every whole number: larger ones fit into no size that PyTorch and the image libraries take
AT_LEAST = {
    "ipc": 1,
    "iterations": 1,
    "outer": 1,
    "inner": 0,
    "real_batch": 1,
    "net_batch": 1,
    "factor": 1,
    "synthetic_batch": 0,
    "stages": 1,
    "stage_epochs": 1,
    "pool": 1,
    "pool_every": 1,
    "pretrain": 0,
    "cluster_every": 0,
    "candidates": 0,
    "frequencies": 1,
    "plateau": 0,
}
OF_NETWORKS = frozenset(
    {"outer", "inner", "net_lr", "net_batch", "net_momentum", "net_weight_decay", "net_augmentation", "cutmix", "pretrain"}
    | {"pool", "pool_every", "lr_lr"}
)
OF_STATISTICS = frozenset({"sdc", "frequencies"})
FLAGS = ("ipc", "iterations", "real_batch")  # those that are flags of the command line too

ABOUT: dict[str, str] = {
    "iterations": "image steps in all (of every stage); a step moves the images of every class",
    "outer": "image steps per network initialisation",
    "inner": "training between two image steps: epochs on S (dc, dsa), SGD steps on D (idc and what is made of it, idm)",
    "real_batch": "real images of a class in a step",
    "image_lr": "learning rate of the pixels as the method keeps them (normalised, or in [0, 1])",
    "image_momentum": "of the images' optimiser",
    "image_optimiser": "sgd or adamw",
    "net_lr": "learning rate of networks in training",
    "net_batch": "their batch size",
    "net_momentum": "their momentum",
    "net_weight_decay": "their weight decay",
    "cutmix": "probability of CutMix in training on D",
    "pretrain": "SGD steps on D before a network is used",
    "initial": "noise; real: random training images; cluster: those nearest to k-means centres",
    "augmentation": "none, or a Siamese strategy such as color_crop_cutout_flip_scale_rotate",
    "augmentation_mode": "S: one operation a call, M: all, I: IDC's",
    "net_augmentation": "of networks in training: same (as in matching), none, or a strategy",
    "allocation": "equal; proportional: images per class by class size",
    "factor": "multi-formation: factor^2 images in the room of one",
    "synthetic_batch": "at most so many decoded images of a class in a step (0: all)",
    "distance": f"in place of the method's own: {', '.join(BY_NAME)}",
    "stages": "progressive distillation: images are learned in so many groups, one after the other",
    "stage_epochs": "epochs of a network on each earlier stage before it is used",
    "pool": "networks kept, where a method keeps several",
    "pool_every": "image steps between two new networks of a pool",
    "calibration": "weight of the cross-entropy of the synthetic images themselves",
    "cluster_every": "image steps between two clusterings of the real images (0: random batches)",
    "candidates": "real images of a class that are clustered (0: all)",
    "plateau": "image steps without a lower loss after which the image learning rate is halved (0: never)",
    "frequencies": "of a characteristic function",
    "label_lr": "learning rate of soft labels (0: hard labels)",
    "lr_lr": "learning rate of the logarithm of net_lr (0: it stays)",
    "sdc": "weight of the norm of the synthetic gradient: sample-difficulty correction",
}
"""What each number says, but for `ipc`, images per class, which no arm has for itself."""


@dataclass(frozen=True)
class Settings:
    """The numbers of one run, told in `ABOUT`; a method's page says which of them it reads.

    An empty `distance` is the method's own; an empty `augmentation` or `net_augmentation` is none.
    """

    ipc: int
    iterations: int
    outer: int
    inner: int
    real_batch: int = 256
    image_lr: float = 0.1
    image_momentum: float = 0.5
    image_optimiser: str = "sgd"
    net_lr: float = 0.01
    net_batch: int = 256
    net_momentum: float = 0.0
    net_weight_decay: float = 0.0
    cutmix: float = 0.0
    pretrain: int = 0
    initial: str = "noise"
    augmentation: str = ""
    augmentation_mode: str = "S"
    net_augmentation: str = "same"
    allocation: str = "equal"
    factor: int = 1
    synthetic_batch: int = 0
    distance: str = ""
    stages: int = 1
    stage_epochs: int = 200
    pool: int = 20
    pool_every: int = 30
    calibration: float = 0.0
    cluster_every: int = 0
    candidates: int = 0
    plateau: int = 0
    frequencies: int = 4096
    label_lr: float = 0.0
    lr_lr: float = 0.0
    sdc: float = 0.0

    def __post_init__(self) -> None:
        for name, least in AT_LEAST.items():
            if getattr(self, name) < least:
                label = f"--{name.replace('_', '-')}" if name in FLAGS else name
                raise InputError(f"{label} is {getattr(self, name)}: it must be at least {least}")
            if getattr(self, name) > MOST:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at most {MOST}")
        for name in ("image_lr", "net_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}: it must be a finite number above 0")
        for name in ("calibration", "label_lr", "lr_lr", "sdc", "net_weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}: it must be a finite number, 0 (none) or more")
        for name in ("image_momentum", "net_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be 0 (none) or more, and below 1")
        if not 0 <= self.cutmix <= 1:
            raise InputError(f"cutmix is {self.cutmix}: it is a probability, from 0 (never) to 1")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                label = "--allocation" if name == "allocation" else name
                raise InputError(f"{label} is '{getattr(self, name)}': choose {' or '.join(a for a in allowed if a)}")
        if self.stages > self.ipc:
            raise InputError(
                f"stages is {self.stages}, more than the {self.ipc} images per class: each stage learns at least one"
            )
        for strategy in (self.augmentation, self.strategy):
            augment.parse(strategy or "none", self.augmentation_mode)

    @property
    def strategy(self) -> str:
        """The augmentation of networks in training."""
        return self.augmentation if self.net_augmentation == "same" else self.net_augmentation

    def stage(self, step: int) -> int:
        """The stage of an image step: as many networks for each, so that a stage begins with a new one."""
        networks = -(-self.iterations // self.outer)
        return min(self.stages - 1, (step // self.outer) * self.stages // networks)

    def with_(self, **changes: Any) -> Settings:
        """A copy with some numbers changed."""
        return replace(self, **changes)
