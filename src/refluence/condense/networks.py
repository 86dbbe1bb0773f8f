"""Where theta_t comes from: the network of each image step, and what trains it in between (S_inner of IWD eq. 6).

    OnSynthetic    a new network every `outer` steps, trained on S between them; `outer` = 1: always fresh    DC, DSA, DM
    OnReal         the same, trained on D (momentum is kept), after `pretrain` steps on D                     IDC, DREAM
    Pool           one of up to `pool` networks at random; a new one every `pool_every` steps; two trained    IDM
    Interpolated   between the first and the last weights of one of `pool` networks trained on D beforehand   NCFM

In a progressive run (stages > 1) a new network first trains on the earlier stages' images, in order (PDD).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.condense.compute import Compute
from refluence.condense.inner import real, sgd, train_on, train_on_synthetic
from refluence.condense.settings import Settings
from refluence.condense.synthetic import Synthetic, optimiser_state, restore_optimiser
from refluence.data.dataset import Dataset
from refluence.matching import augment
from refluence.models import ModelSpec, build

ON_D = frozenset({"net_momentum", "net_weight_decay", "cutmix"})
Rng = Callable[[str, int], torch.Generator]
STAGE = {"net_lr": 0.01, "net_batch": 64, "net_momentum": 0.9, "net_weight_decay": 5e-4, "cutmix": 0.5}  # of PDD's code


@dataclass(frozen=True)
class Around:
    """What networks need to know of a run."""

    settings: Settings
    dataset: Dataset
    spec: ModelSpec
    rng: Rng
    compute: Compute


class Networks(ABC):
    """`net` is theta of the current image step once `ready(step)` was called; `advance(step)` moves on.

    `plain` is `net` as plain passes call it (compiled, perhaps). `accuracy` of `net` on what it was trained on, a share.
    """

    trains_on: ClassVar[str] = "synthetic"
    reads: ClassVar[frozenset[str]] = frozenset({"net_lr", "net_batch", "net_augmentation"})  # settings of their own

    def __init__(self, around: Around):
        self.around, self.settings = around, around.settings
        self.net = self.fresh(0)
        self.plain = around.compute.compiled(self.net)
        self.accuracy = 1.0
        self.real = real(around.dataset, self.device)

    @property
    def device(self) -> torch.device:
        """Where networks live."""
        return self.around.compute.device

    def fresh(self, number: int) -> nn.Module:
        """Network `number` as it is initialised."""
        return build(self.around.spec, self.around.rng("network", number), self.device)

    @property
    def judge(self) -> nn.Module:
        """The network whose cross-entropy of S counts, where a method has that term."""
        return self.net

    def put(self, state: dict[str, Tensor]) -> None:
        """Weights into the same modules, which may be compiled."""
        self.net.load_state_dict(state)

    @abstractmethod
    def ready(self, step: int, synthetic: Synthetic) -> bool:
        """Make `net` the network of image step `step`; whether it is a new one."""

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
            steps = self.settings.stage_epochs * -(-len(images) // STAGE["net_batch"])
            settings = self.settings.with_(**STAGE)
            data = len(images), lambda p, x=images, y=labels: (x[p], y[p])
            train_on(net, sgd(net, settings), data, settings, steps, self.around.rng(f"stage-{stage}", number))


class OnSynthetic(Networks):
    """A new network every `outer` steps, trained on the synthetic set between them.

    `moved`: theta_t - theta_{t-1} of the last training, by name, where the learning rate is learned.
    """

    reads: ClassVar[frozenset[str]] = Networks.reads | {"outer", "inner", "lr_lr"}
    moved: dict[str, Tensor] | None = None

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
            generator, before = self.around.rng("inner", step), self._parameters() if s.lr_lr else {}
            with self.around.compute.autocast():
                train_on_synthetic(self.plain, *synthetic.training_set(), s, generator, augmentation, synthetic.rate)
            self.moved = {k: p - before[k] for k, p in self._parameters().items()} if s.lr_lr else None

    def _parameters(self) -> dict[str, Tensor]:
        return {k: p.detach().clone() for k, p in self.net.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """See `Networks`."""
        return {**super().state(), **{f"moved.{k}": t for k, t in (self.moved or {}).items()}}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See `Networks`."""
        super().restore(state)
        self.moved = {k: t.to(self.device) for k, t in within(state, "moved.").items()} or None


class OnReal(Networks):
    """A new network every `outer` steps, trained on the real set between them."""

    trains_on: ClassVar[str] = "real"
    reads: ClassVar[frozenset[str]] = Networks.reads | ON_D | {"outer", "inner", "pretrain"}

    def __init__(self, around: Around):
        super().__init__(around)
        self.optimiser = sgd(self.net, self.settings)

    def ready(self, step: int, synthetic: Synthetic) -> bool:
        """See `Networks`."""
        number, t = divmod(step, self.settings.outer)
        if t == 0:
            self.put(self.fresh(number).state_dict())
            self.optimiser = sgd(self.net, self.settings)
            self.on_earlier_stages(self.net, synthetic, number)
            self.train(self.settings.pretrain, self.around.rng("pretrain", number))
        return t == 0

    def advance(self, step: int, synthetic: Synthetic) -> None:
        """`inner` steps on D; nothing after the last step of a network."""
        if (step + 1) % self.settings.outer and step + 1 < self.settings.iterations:
            self.train(self.settings.inner, self.around.rng("inner", step))

    def train(self, steps: int, generator: torch.Generator) -> None:
        """Some steps on the real set."""
        with self.around.compute.autocast():
            train_on(self.plain, self.optimiser, self.real, self.settings, steps, generator)

    def state(self) -> dict[str, Tensor]:
        """See `Networks`."""
        return {**super().state(), **{f"net-{k}": v for k, v in optimiser_state(self.optimiser).items()}}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See `Networks`."""
        super().restore(state)
        self.optimiser = sgd(self.net, self.settings)
        restore_optimiser(self.optimiser, within(state, "net-"))


class Pool(Networks):
    """IDM (arXiv 2307.09742, sec. 3.3): networks at many stages of training on D, one of which is used in each step."""

    trains_on: ClassVar[str] = "real"
    reads: ClassVar[frozenset[str]] = Networks.reads | ON_D | {"inner", "pool", "pool_every"}
    first: ClassVar[int] = 3  # networks at the start

    def __init__(self, around: Around):
        super().__init__(around)
        self.kept: list[dict[str, Tensor]] = []  # weights and momentum of each
        self.shares: list[float] = []
        self.made = 0
        for _ in range(self.first):
            self._more()

    def _more(self) -> None:
        if len(self.kept) == self.settings.pool:
            self.kept.pop(0), self.shares.pop(0)
        self.kept.append({f"net.{k}": v for k, v in self.fresh(self.made).state_dict().items()})
        self.shares.append(0.0)
        self.made += 1

    def ready(self, step: int, synthetic: Synthetic) -> bool:
        """See `Networks`."""
        if step % self.settings.pool_every == 0:
            self._more()
        chosen = int(torch.randint(len(self.kept), (), generator=self.around.rng("pool", step)))
        self.put(within(self.kept[chosen], "net."))
        self.accuracy = self.shares[chosen]
        self.on_earlier_stages(self.net, synthetic, step)
        return True

    def advance(self, step: int, synthetic: Synthetic) -> None:
        """`inner` steps on D of two networks (the published number) drawn at random."""
        generator = self.around.rng("inner", step)
        for chosen in torch.randperm(len(self.kept), generator=generator)[:2].tolist():
            self.put(within(self.kept[chosen], "net."))
            optimiser = sgd(self.net, self.settings)
            restore_optimiser(optimiser, self.kept[chosen])
            with self.around.compute.autocast():
                share = train_on(self.plain, optimiser, self.real, self.settings, self.settings.inner, generator)
            self.shares[chosen] = share
            net = {f"net.{k}": v.clone() for k, v in self.net.state_dict().items()}
            self.kept[chosen] = {**net, **{k: v.clone() for k, v in optimiser_state(optimiser).items()}}

    def state(self) -> dict[str, Tensor]:
        """See `Networks`."""
        kept = {f"pool.{i}.{k}": v for i, one in enumerate(self.kept) for k, v in one.items()}
        shares = torch.tensor(self.shares, dtype=torch.float64)
        return {**super().state(), **kept, "pool-shares": shares, "pool-made": torch.tensor(self.made)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See `Networks`."""
        super().restore(state)
        self.shares, self.made = state["pool-shares"].tolist(), int(state["pool-made"])
        self.kept = [within(state, f"pool.{i}.") for i in range(len(self.shares))]


class Interpolated(Networks):
    """NCFM (arXiv 2502.20653 and its code): theta = (1 - b) first + b last, b ~ U(0, 1), of one of `pool` trained networks."""

    trains_on: ClassVar[str] = "real"
    reads: ClassVar[frozenset[str]] = Networks.reads | ON_D | {"pretrain", "pool"}

    def __init__(self, around: Around):
        super().__init__(around)
        self.final = self.fresh(0)
        self.last: dict[int, dict[str, Tensor]] = {}

    @property
    def judge(self) -> nn.Module:
        """The network with its last weights."""
        return self.final

    def ready(self, step: int, synthetic: Synthetic) -> bool:
        """See `Networks`. A network is trained when it is first drawn."""
        generator = self.around.rng("pool", step)
        chosen = int(torch.randint(self.settings.pool, (), generator=generator))
        first = self.fresh(chosen)
        if chosen not in self.last:
            self.put(first.state_dict())
            optimiser, pretrain = sgd(self.net, self.settings), self.around.rng("pretrain", chosen)
            with self.around.compute.autocast():
                train_on(self.plain, optimiser, self.real, self.settings, self.settings.pretrain, pretrain)
            self.last[chosen] = {k: v.clone() for k, v in self.net.state_dict().items()}
        share = float(torch.rand((), generator=generator))
        last = self.last[chosen]
        self.final.load_state_dict(last)
        self.put(
            {k: torch.lerp(v, last[k], share) if v.is_floating_point() else last[k] for k, v in first.state_dict().items()}
        )
        self.on_earlier_stages(self.net, synthetic, step)
        return True

    def state(self) -> dict[str, Tensor]:
        """See `Networks`."""
        return {**super().state(), **{f"last.{i}.{k}": v for i, one in self.last.items() for k, v in one.items()}}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See `Networks`."""
        super().restore(state)
        numbers = {int(key.split(".")[1]) for key in state if key.startswith("last.")}
        self.last = {i: {k: v.to(self.device) for k, v in within(state, f"last.{i}.").items()} for i in numbers}


def within(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries that begin with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
