"""Every number of a distillation run. None of them is hidden in the loop."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, replace
from typing import Any

from refluence.errors import InputError
from refluence.fields import check, described, required, same, setting
from refluence.matching import augment
from refluence.matching.discrepancies import BY_NAME
from refluence.options import JobOptions

NETWORKS, STATISTICS = "networks", "statistic"  # which part of a method reads a setting; the others every method reads


@described
@dataclass(frozen=True)
class Settings:
    """The numbers of one run. A method's page says which of them it reads, and their values at each size.

    An empty `distance` is the method's own; an empty `augmentation` or `net_augmentation` is none.

    Raises:
        InputError: a value outside its range, and values that mean nothing together.
    """

    ipc: int = same(JobOptions, "ipc", default=MISSING)
    iterations: int = same(
        JobOptions,
        "iterations",
        help="image steps in all (of every stage); a step moves the images of every class",
        default=MISSING,
    )
    outer: int = required("image steps per network initialisation", least=1, of=NETWORKS)
    inner: int = same(
        JobOptions,
        "inner",
        help="training between two image steps: epochs on S (dc, dsa), SGD steps on D (idc and what is made of it, idm)",
        default=MISSING,
        of=NETWORKS,
    )
    real_batch: int = same(JobOptions, "real_batch", help="real images of a class in a step", default=256)
    image_lr: float = setting(0.1, "learning rate of the pixels as the method keeps them (normalised, or in [0, 1])", above=0)
    image_momentum: float = setting(0.5, "of the images' optimiser", least=0, below=1)
    image_optimiser: str = setting("sgd", "sgd or adamw", choices=("sgd", "adamw"))
    net_lr: float = setting(0.01, "learning rate of networks in training", above=0, of=NETWORKS)
    net_batch: int = setting(256, "their batch size", least=1, of=NETWORKS)
    net_momentum: float = setting(0.0, "their momentum", least=0, below=1, of=NETWORKS)
    net_weight_decay: float = setting(0.0, "their weight decay", least=0, of=NETWORKS)
    cutmix: float = setting(0.0, "probability of CutMix in training on D", least=0, most=1, of=NETWORKS)
    pretrain: int = setting(0, "SGD steps on D before a network is used", least=0, of=NETWORKS)
    initial: str = same(
        JobOptions,
        "initial",
        help="noise; real: random training images; cluster: those nearest to k-means centres",
        default="noise",
    )
    augmentation: str = setting("", "none, or a Siamese strategy such as color_crop_cutout_flip_scale_rotate")
    augmentation_mode: str = setting("S", "S: one operation a call, M: all, I: IDC's")
    net_augmentation: str = setting("same", "of networks in training: same (as in matching), none, or a strategy", of=NETWORKS)
    allocation: str = same(JobOptions, "allocation", help="equal; proportional: images per class by class size")
    factor: int = setting(1, "multi-formation: factor^2 images in the room of one", least=1)
    synthetic_batch: int = setting(0, "at most so many decoded images of a class in a step (0: all)", least=0)
    distance: str = setting("", f"in place of the method's own: {', '.join(BY_NAME)}", choices=("", *BY_NAME))
    stages: int = setting(1, "progressive distillation: images are learned in so many groups, one after the other", least=1)
    stage_epochs: int = setting(200, "epochs of a network on each earlier stage before it is used", least=1)
    pool: int = setting(20, "networks kept, where a method keeps several", least=1, of=NETWORKS)
    pool_every: int = setting(30, "image steps between two new networks of a pool", least=1, of=NETWORKS)
    calibration: float = setting(0.0, "weight of the cross-entropy of the synthetic images themselves", least=0)
    cluster_every: int = setting(0, "image steps between two clusterings of the real images (0: random batches)", least=0)
    candidates: int = setting(0, "real images of a class that are clustered (0: all)", least=0)
    plateau: int = setting(
        0, "image steps without a lower loss after which the image learning rate is halved (0: never)", least=0
    )
    frequencies: int = setting(4096, "of a characteristic function", least=1, of=STATISTICS)
    label_lr: float = setting(0.0, "learning rate of soft labels (0: hard labels)", least=0)
    lr_lr: float = setting(0.0, "learning rate of the logarithm of net_lr (0: it stays)", least=0, of=NETWORKS)
    sdc: float = setting(
        0.0, "weight of the norm of the synthetic gradient: sample-difficulty correction", least=0, of=STATISTICS
    )

    def __post_init__(self) -> None:
        check(self)
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
