"""Where theta_t comes from: the network of each image step, and what trains it in between (S_inner of IWD eq. 6).

    OnSynthetic    a new network every `outer` steps, trained on S between them; `outer` = 1: always fresh    DC, DSA, DM
    OnReal         the same, trained on D (momentum is kept), after `pretrain` steps on D                     IDC, DREAM

Sets of networks that serve again and again are in pools.py. In a progressive run (stages > 1) a new network first trains on
the earlier stages' images, in order (PDD).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.condense.network_training import real, sgd, train_on, train_on_synthetic
from refluence.condense.settings import Settings
from refluence.condense.synthetic import Synthetic
from refluence.data.dataset import Dataset
from refluence.matching import augment
from refluence.models import ModelSpec, build
from refluence.models.plain import without_dropout
from refluence.seeds import Rng
from refluence.training.optimisers import optimiser_state, restore_optimiser

ON_D = frozenset({"net_momentum", "net_weight_decay", "cutmix"})
STAGE = {"net_lr": 0.01, "net_batch": 64, "net_momentum": 0.9, "net_weight_decay": 5e-4, "cutmix": 0.5}  # of PDD's code
STAGE_RATES = ((0, 1.0), (2 / 3, 0.2), (5 / 6, 0.04))  # from which share of its epochs on, which share of the rate


@dataclass(frozen=True)
class Context:
    """What networks need to know of a run."""

    settings: Settings
    dataset: Dataset
    spec: ModelSpec
    rng: Rng
    compute: Compute


class Networks(ABC):
    """`net` is theta of the current image step once `ready(step)` was called; `advance(step)` moves on.

    `plain` is `net` as plain passes call it (compiled, perhaps). `accuracy` of `net` on what it was trained on, a share.
    `moved`: theta_t - theta_{t-1} of the last training, by name, where the learning rate is learned.
    """

    trains_on: ClassVar[str] = "synthetic"
    reads: ClassVar[frozenset[str]] = frozenset({"net_lr", "net_batch", "net_augmentation"})  # settings of their own
    moved: dict[str, Tensor] | None = None

    def __init__(self, context: Context):
        self.context, self.settings = context, context.settings
        self.net = self.fresh(0)
        self.plain = context.compute.compiled(self.net)
        self.accuracy = 1.0
        self.real = real(context.dataset, self.device)

    @property
    def device(self) -> torch.device:
        """Where networks live."""
        return self.context.compute.device

    def fresh(self, number: int) -> nn.Module:
        """Network `number` as it is initialised, without dropout."""
        return without_dropout(build(self.context.spec, self.context.rng("network", number), self.device))

    @property
    def final(self) -> nn.Module:
        """The network whose cross-entropy of S counts, where a method has that term."""
        return self.net

    def put(self, state: dict[str, Tensor]) -> None:
        """Weights into the same modules, which may be compiled."""
        self.net.load_state_dict(state)

    @abstractmethod
    def ready(self, step: int, synthetic: Synthetic) -> bool:
        """Make `net` the network of image step `step`; whether it is a new one."""

    @classmethod
    def begins(cls, settings: Settings) -> range:
        """The image steps for which a network is made ready anew."""
        return range(0, settings.iterations, settings.outer)

    @classmethod
    def pretrained(cls, settings: Settings) -> int:
        """How many networks train for `pretrain` steps on D before they are used, in a whole run."""
        return 0

    @classmethod
    def seen_beforehand(cls, settings: Settings, images: int) -> tuple[float, float]:
        """Images that networks see in training before they are used, in a whole run that learns `images` (decoded).

        Those of D, and those of the earlier stages.
        """
        stages = [settings.stage(step) for step in cls.begins(settings)]
        earlier = sum(settings.stage_epochs * images * (k + 1) / settings.stages for stage in stages for k in range(stage))
        return cls.pretrained(settings) * settings.pretrain * settings.net_batch, earlier

    def advance(self, step: int, synthetic: Synthetic) -> None:
        """Train what is trained after image step `step`."""
        return  # nothing, unless a subclass does

    def state(self) -> dict[str, Tensor]:
        """Everything the next step depends on."""
        return {f"net.{k}": v for k, v in self.net.state_dict().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue where `state` was taken."""
        self.put(within(state, "net."))

    def on_earlier_stages(self, net: nn.Module, synthetic: Synthetic, number: int) -> None:
        """PDD: training on the union of the first stages' images, of the first two, ... (arXiv 2310.06982, alg. 1)."""
        for stage in range(synthetic.now):
            images, labels = synthetic.training_set(stage)
            data = len(images), lambda p, x=images, y=labels: (x[p], y[p])
            settings, generator = on_stage(self.settings, images.shape[1]), self.context.rng(f"stage-{stage}", number)
            optimiser, epochs = sgd(net, settings), settings.stage_epochs
            starts = [min(epochs, max(k, int(share * epochs))) for k, (share, _) in enumerate(STAGE_RATES)]
            for (_, rate), start, end in zip(STAGE_RATES, starts, [*starts[1:], epochs], strict=True):
                optimiser.param_groups[0]["lr"] = rate * settings.net_lr
                steps = (end - start) * -(-len(images) // settings.net_batch)
                train_on(net, optimiser, data, settings, steps, generator)


def on_stage(settings: Settings, channels: int) -> Settings:
    """Settings of the training on earlier stages: numbers and augmentation are those of PDD's evaluation."""
    strategy = augment.DSA.replace("cutout_", "") if channels > 1 else augment.DSA.replace("cutout_flip_", "")
    return settings.with_(**STAGE, net_augmentation=strategy, augmentation_mode="I")


class OnSynthetic(Networks):
    """A new network every `outer` steps, trained on the synthetic set between them."""

    reads: ClassVar[frozenset[str]] = Networks.reads | {"outer", "inner", "lr_lr"}

    def ready(self, step: int, synthetic: Synthetic) -> bool:
        """See `Networks`."""
        number, t = divmod(step, self.settings.outer)
        if t == 0:
            self.put(self.fresh(number).state_dict())
            self.on_earlier_stages(self.net, synthetic, number)
            self.moved = None
        return t == 0

    def advance(self, step: int, synthetic: Synthetic) -> None:
        """Line 4; nothing after the last step of a network."""
        if (step + 1) % self.settings.outer and step + 1 < self.settings.iterations and self.settings.inner:
            s = self.settings
            augmentation = augment.parse(s.strategy, s.augmentation_mode) if s.strategy else None
            generator, before = self.context.rng("inner", step), self._parameters() if s.lr_lr else {}
            with self.context.compute.autocast():
                images, labels = synthetic.training_set()
                train_on_synthetic(self.plain, images, labels, s, generator, augmentation, synthetic.rate)
            self.moved = {k: p - before[k] for k, p in self._parameters().items()} if s.lr_lr else None

    def _parameters(self) -> dict[str, Tensor]:
        return {k: p.detach().clone() for k, p in self.net.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """See `Networks`."""
        return {**super().state(), **{f"moved.{k}": t for k, t in (self.moved or {}).items()}}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See `Networks`."""
        super().restore(state)
        kept = within(state, "moved.")  # in the order of the network, in which sums over it are rounded
        self.moved = {k: kept[k].to(self.device) for k, _ in self.net.named_parameters() if k in kept} or None


class OnReal(Networks):
    """A new network every `outer` steps, trained on the real set between them."""

    trains_on: ClassVar[str] = "real"
    reads: ClassVar[frozenset[str]] = Networks.reads | ON_D | {"outer", "inner", "pretrain"}

    def __init__(self, context: Context):
        super().__init__(context)
        self.optimiser = sgd(self.net, self.settings)

    @classmethod
    def pretrained(cls, settings: Settings) -> int:
        """See `Networks`."""
        return len(cls.begins(settings))

    def ready(self, step: int, synthetic: Synthetic) -> bool:
        """See `Networks`."""
        number, t = divmod(step, self.settings.outer)
        if t == 0:
            self.put(self.fresh(number).state_dict())
            self.optimiser = sgd(self.net, self.settings)
            self.on_earlier_stages(self.net, synthetic, number)
            self.train(self.settings.pretrain, self.context.rng("pretrain", number))
        return t == 0

    def advance(self, step: int, synthetic: Synthetic) -> None:
        """`inner` steps on D; nothing after the last step of a network."""
        if (step + 1) % self.settings.outer and step + 1 < self.settings.iterations:
            self.train(self.settings.inner, self.context.rng("inner", step))

    def train(self, steps: int, generator: torch.Generator) -> None:
        """Some steps on the real set."""
        with self.context.compute.autocast():
            train_on(self.plain, self.optimiser, self.real, self.settings, steps, generator)

    def state(self) -> dict[str, Tensor]:
        """See `Networks`."""
        return {**super().state(), **{f"net-{k}": v for k, v in optimiser_state(self.optimiser).items()}}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See `Networks`."""
        super().restore(state)
        self.optimiser = sgd(self.net, self.settings)
        restore_optimiser(self.optimiser, within(state, "net-"))


def within(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries that begin with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
