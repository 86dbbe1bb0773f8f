"""Networks that serve more than once: sets of them, trained on D, from which each image step draws one.

Pool           one of up to `pool` networks at random; a new one every `pool_every` steps; two trained    IDM
Interpolated   between the first and the last weights of one of `pool` networks trained on D beforehand   NCFM
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.condense.network_training import sgd, train_on
from refluence.condense.networks import ON_D, Context, Networks, within
from refluence.condense.settings import Settings
from refluence.condense.synthetic import Synthetic
from refluence.training.optimisers import optimiser_state, restore_optimiser


class Pool(Networks):
    """IDM (arXiv 2307.09742, sec. 3.3): networks at many stages of training on D, one of which is used in each step."""

    trains_on: ClassVar[str] = "real"
    reads: ClassVar[frozenset[str]] = Networks.reads | ON_D | {"inner", "pool", "pool_every"}
    first: ClassVar[int] = 3  # networks at the start

    def __init__(self, context: Context):
        super().__init__(context)
        self.kept: list[dict[str, Tensor]] = []  # weights and momentum of each
        self.shares: list[float] = []
        self.made = 0
        for _ in range(self.first):
            self._more()

    @classmethod
    def begins(cls, settings: Settings) -> range:
        """See `Networks`: one is chosen for every image step."""
        return range(settings.iterations)

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
        chosen = int(torch.randint(len(self.kept), (), generator=self.context.rng("pool", step)))
        self.put(within(self.kept[chosen], "net."))
        self.accuracy = self.shares[chosen]
        self.on_earlier_stages(self.net, synthetic, step)
        return True

    def advance(self, step: int, synthetic: Synthetic) -> None:
        """`inner` steps on D of two networks (the published number) drawn at random."""
        generator = self.context.rng("inner", step)
        for chosen in torch.randperm(len(self.kept), generator=generator)[:2].tolist():
            self.put(within(self.kept[chosen], "net."))
            optimiser = sgd(self.net, self.settings)
            restore_optimiser(optimiser, self.kept[chosen])
            with self.context.compute.autocast():
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

    def __init__(self, context: Context):
        super().__init__(context)
        self.end = self.fresh(0)
        self.last: dict[int, dict[str, Tensor]] = {}

    @classmethod
    def begins(cls, settings: Settings) -> range:
        """See `Networks`: one is chosen for every image step."""
        return range(settings.iterations)

    @classmethod
    def pretrained(cls, settings: Settings) -> int:
        """See `Networks`."""
        return min(settings.pool, settings.iterations)

    @property
    def final(self) -> nn.Module:
        """The network with its last weights."""
        return self.end

    def ready(self, step: int, synthetic: Synthetic) -> bool:
        """See `Networks`. A network is trained when it is first drawn."""
        generator = self.context.rng("pool", step)
        chosen = int(torch.randint(self.settings.pool, (), generator=generator))
        first = self.fresh(chosen)
        if chosen not in self.last:
            self.put(first.state_dict())
            optimiser, pretrain = sgd(self.net, self.settings), self.context.rng("pretrain", chosen)
            with self.context.compute.autocast():
                train_on(self.plain, optimiser, self.real, self.settings, self.settings.pretrain, pretrain)
            self.last[chosen] = {k: v.clone() for k, v in self.net.state_dict().items()}
        share = float(torch.rand((), generator=generator))
        last = self.last[chosen]
        self.end.load_state_dict(last)
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
