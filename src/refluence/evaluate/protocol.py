"""What a protocol is: every choice that decides how one network is trained on a small set.

    theta_{t+1} = optimiser(theta_t, grad loss(net(mix(augment(x))), y); rate of the epoch),  fresh theta_0, last iterate

The named ones are in `protocols`; the parts are in `augment` and, of every training, in `training/`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from refluence.evaluate.sizes import RULES
from refluence.models import ModelSpec
from refluence.training import optimisers, schedules


@dataclass(frozen=True)
class Protocol:
    """How one network is trained.

    `augmentation` is of colour images, `augmentation_grey` of others; `augmentation_batch_norm` ("": none of its own) takes
    the place of both for ConvNets with batch norm. `schedule` is one of `schedules.SCHEDULES`; `steps` multiplies the rate by
    `factor` at each of `milestones` (shares of the epochs), and `rebuild` makes a new optimiser there, which forgets its
    momentum. `rule` names a rule of `sizes` that sets epochs and batch by the size of the set; what `with_` has set (`fixed`)
    stays. `loss` is one of `objectives.LOSSES`; `soft` says that soft labels are used where the set has them. `mix` is
    `cutmix`, `mixup` (shares of Beta(`mix_alpha`, `mix_alpha`)) or `none`, for a batch with probability `mix_p`. `ema` is the
    decay of an average of the weights, which is what is scored (0: none). With `one_batch` an epoch is one update on a batch
    drawn at random. With `staged` a set of stages is learned stage after stage, `epochs` each. `learned_lr`: a learning rate
    that comes with the set takes the place of `lr`. `decay_all` False: no weight decay on biases and norms. `zca` is a kind
    of `data.whitening` in which small colour images are seen, when trained on and when judged on ("": as they are).
    """

    name: str
    epochs: int
    note: str
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    milestones: tuple[float, ...] = (0.5,)
    factor: float = 0.1
    rebuild: bool = True
    augmentation: str = "none"
    augmentation_grey: str = "none"
    augmentation_batch_norm: str = ""
    mode: str = "S"
    optimiser: str = "sgd"
    decay_all: bool = True
    schedule: str = "steps"
    mix: str = "none"
    mix_p: float = 1.0
    mix_alpha: float = 1.0
    loss: str = "ce"
    temperature: float = 1.0
    soft: bool = False
    ema: float = 0.0
    one_batch: bool = False
    staged: bool = False
    learned_lr: bool = False
    zca: str = ""
    rule: str = ""
    fixed: tuple[str, ...] = ()

    def strategy(self, spec: ModelSpec) -> str:
        """The augmentation of the images that a network is trained on."""
        if self.augmentation_batch_norm and spec.norm == "batch" and spec.name.startswith("convnet"):
            return self.augmentation_batch_norm
        return self.augmentation_grey if spec.shape[0] == 1 else self.augmentation

    def augments(self, spec: ModelSpec) -> bool:
        """Whether training images are changed at all."""
        return self.strategy(spec) != "none" or self.mix != "none"

    @property
    def taught(self) -> bool:
        """Whether a teacher may give the labels of the images, as they are augmented and mixed."""
        return self.loss == "kl"

    @property
    def short(self) -> bool:
        """Whether it is one of the short sizes, which compare with no published number."""
        return self.name.partition(":")[0].endswith("-cpu")

    def drops(self) -> set[int]:
        """Epochs that begin with a lower rate; empty for schedules without steps."""
        return schedules.drops(self.schedule, self.epochs, self.milestones)

    def rates(self, stage: int = 0) -> list[float]:
        """The learning rate of every epoch of a stage (counted from 0)."""
        return schedules.rates(self.schedule, self.lr, self.epochs, milestones=self.milestones, factor=self.factor, stage=stage)

    def new_optimiser(self, net: nn.Module, lr: float) -> torch.optim.Optimizer:
        """An optimiser of the network's parameters that has no momentum yet."""
        return optimisers.make(
            net,
            self.optimiser,
            lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            decay_all=self.decay_all,
        )

    def with_(self, epochs: int | None = None, batch: int | None = None) -> Protocol:
        """A copy with other sizes, which its name then tells: `dc:epochs=30`. None leaves a size as it is."""
        asked = {key: value for key, value in (("epochs", epochs), ("batch", batch)) if value is not None}
        changes: dict[str, Any] = {key: value for key, value in asked.items() if self.rule or value != getattr(self, key)}
        if not changes:
            return self
        base, _, before = self.name.partition(":")
        options = dict(part.split("=") for part in before.split(",") if part) | changes
        name = f"{base}:" + ",".join(f"{key}={value}" for key, value in options.items())
        return replace(self, name=name, fixed=tuple(options), **changes)

    def resolve(self, images: int, classes: int) -> Protocol:
        """The protocol for a set of this many training images: what its rule says of epochs and batch, under its name."""
        if not self.rule:
            return self
        changes: dict[str, Any] = RULES[self.rule](images / classes, classes)
        return replace(self, **{k: v for k, v in changes.items() if k not in self.fixed})
