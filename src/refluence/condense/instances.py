"""The real side of Algorithm 1 (IWD): which weight each real instance of the batch gets, and the statistic under it.

    I_j = <grad_2 D(a, b), g_j>          b the uniform class mean                     lines 5-6, eq. 24
    omega = n softmax(sign I / tau)      in its bag, standardised                      line 7
    inside:   D(a, (1/n) sum_j omega_j g_j)                                            eq. 8 (our default)
    outside:  (1/n) sum_j omega_j D(a, g_j)                                            line 9

omega has mean 1 in its bag, so omega = 1 is the base method.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refluence.condense.base import Method
from refluence.condense.compute import Compute
from refluence.errors import InputError
from refluence.influence.capture import Capture, capture
from refluence.influence.distillation import RunningInfluence, explicit
from refluence.influence.weighting import Weighting, standardise, weights
from refluence.matching.discrepancies import first_derivative, second_derivative
from refluence.matching.statistics import per_sample_gradients, real_gradient


@dataclass
class ClassBatch:
    """One class at one image step: its synthetic images, their statistic `a`, and the real batch it is held against."""

    images: Tensor  # (M_c, C, H, W), a leaf
    a: dict[str, Tensor]  # with the graph that leads back to `images`
    x: Tensor  # (n, C, H, W) normalised, augmented like the synthetic side
    y: Tensor  # (n,)
    positions: Tensor  # (n,) in the training split


@dataclass
class Match:
    """D of one class, its derivative with respect to `batch.a`, and the weights `(n,)` used (None: the plain mean)."""

    batch: ClassBatch
    distance: Tensor
    cotangent: dict[str, Tensor]
    omega: Tensor | None

    def image_gradient(self) -> Tensor:
        """dD/dS_c `(M_c, C, H, W)`: the cotangent carried back through the synthetic statistic."""
        outputs = list(self.batch.a.values())
        return torch.autograd.grad(outputs, self.batch.images, [self.cotangent[n] for n in self.batch.a])[0]


def check(method: Method, weighting: Weighting) -> None:
    """Refuse weights that this method cannot have (`InputError`)."""
    if weighting.terms == "implicit":
        raise InputError(f"terms=implicit: that term is zero for {method.name}, whose networks train on the synthetic set")


class RealSide:
    """Weights and statistics of real batches; its state is the table of running influence."""

    def __init__(self, method: Method, weighting: Weighting, table: RunningInfluence, compute: Compute | None = None):
        check(method, weighting)
        self.method, self.weighting, self.table, self.compute = method, weighting, table, compute or Compute()

    def match(
        self,
        net: nn.Module,
        batches: Iterable[ClassBatch],
        step: int,
        generator: torch.Generator,
        plain: nn.Module | None = None,
    ) -> Iterator[Match]:
        """Each class's match, in order. With `bag="class"` one class at a time is held in memory.

        `plain` is `net` as plain passes call it (compiled, perhaps).
        """
        plain = net if plain is None else plain
        if self.weighting.bag == "class":
            for batch in batches:
                kept, scores = self._measure(net, batch, step)
                (omega,) = self._weights([batch], scores, generator)
                yield self._distance(plain, batch, omega, kept)
            return
        held = list(batches)
        scored = [s for batch in held if (s := self._measure(net, batch, step)[1]) is not None]
        omegas = self._weights(held, torch.cat(scored) if scored else None, generator)
        for batch, omega in zip(held, omegas, strict=True):
            yield self._distance(plain, batch, omega, None)

    def _measure(self, net: nn.Module, batch: ClassBatch, step: int) -> tuple[Capture | None, Tensor | None]:
        """Scores `(n,)` of this step's real batch, where this step measures any."""
        if self.weighting.kind == "uniform" or step % self.weighting.refresh:
            return None, None
        with self.compute.autocast():
            kept = capture(net, batch.x, batch.y, names=set(batch.a))
        if self.weighting.kind == "loss":
            return kept, kept.losses.cpu()
        _, direction = second_derivative(self.method.discrepancy, batch.a, kept.gradient(None))
        return kept, explicit(kept, direction).cpu()  # a few numbers; some accelerators know no float64

    def _weights(
        self, batches: list[ClassBatch], scores: Tensor | None, generator: torch.Generator
    ) -> list[Tensor] | list[None]:
        """omega of each batch of one bag; `scores` are theirs, one after the other, where this step measured any.

        New scores enter the running means, standardised in this bag. Between measurements the running means stand for
        them; `memory` blends both; `bag="all"` weighs every instance seen so far by its running mean.
        """
        if self.weighting.kind == "uniform":
            return [None] * len(batches)
        positions, table, how = torch.cat([b.positions for b in batches]), self.table, self.weighting.standardise
        if scores is not None:
            table.add(positions, scores, standardise(scores, how))
        if self.weighting.bag == "all":
            seen = table.visits > 0
            every = torch.ones(len(seen), dtype=torch.float64)
            every[seen] = weights(table.standardised[seen], self.weighting, generator)
            omega = every[positions]
        else:
            running, memory = table.standardised[positions], self.weighting.memory
            if scores is None:
                scores = running
            elif memory:
                scores = memory * running.to(scores) + (1 - memory) * standardise(scores, how)
            omega = weights(scores, self.weighting, generator)
        return list(omega.split([len(b.positions) for b in batches]))

    def _distance(self, net: nn.Module, batch: ClassBatch, omega: Tensor | None, kept: Capture | None) -> Match:
        names = list(batch.a)
        if omega is not None:
            omega = omega.to(batch.x)
            if self.weighting.where == "outside":
                return Match(batch, *self._outside(net, batch, omega, names), omega)
        if kept is not None:
            b = kept.gradient(omega)
        else:
            with self.compute.autocast():
                b = real_gradient(net, batch.x, batch.y, names, omega)
        return Match(batch, *first_derivative(self.method.discrepancy, batch.a, b), omega)

    def _outside(self, net: nn.Module, batch: ClassBatch, omega: Tensor, names: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """(1/n) sum_j omega_j D(a, g_j) and its derivative with respect to a, chunk by chunk (Algorithm 1, line 9)."""
        a = {name: tensor.detach().requires_grad_() for name, tensor in batch.a.items()}
        total, cotangent = torch.zeros((), device=omega.device), {name: torch.zeros_like(t) for name, t in a.items()}
        for part, gradients in per_sample_gradients(net, batch.x, batch.y, names):
            each = torch.vmap(lambda g: self.method.discrepancy.value(a, g))(gradients)
            share = (omega[part] * each).sum() / len(omega)
            for name, gradient in zip(a, torch.autograd.grad(share, list(a.values())), strict=True):
                cotangent[name] += gradient
            total = total + share.detach()
        return total, cotangent
