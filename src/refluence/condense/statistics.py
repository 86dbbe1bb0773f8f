"""What a method compares, and the statistic of matching/statistics.py bound to one image step's network and machine.

    gradient        phi_j = grad_theta l_j of the parameters that the discrepancy uses              DC, DSA, IDC, DREAM, PDD
    embedding       phi_j = the flattened features before the classifier                            DM, IDM
    characteristic  phi_j = exp(i <t, f_j>), f_j the features of unit length, t fresh each time     NCFM

The numbers are those of `influence.Gradients` and `influence.Means`. Bound here: the precision of the real side, compiled
networks, and compiled graphs of the synthetic side (graphs.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.condense import graphs
from refluence.condense.settings import Settings
from refluence.influence.capture import readable
from refluence.influence.statistic import Gradients, Means
from refluence.matching.characteristic import Waves
from refluence.matching.discrepancies import Discrepancy
from refluence.matching.features import embedding
from refluence.matching.gradients import real_gradient
from refluence.matching.statistics import Measured, MeasuredRows, Statistic


class Bound(Protocol):
    """A statistic at one theta.

    `names`: the parameters whose gradient says how difficult an instance is: those that gradients are compared by; where
    embeddings are compared, every weight of the network, the classifier's too (ours).
    """

    @property
    def statistic(self) -> Statistic:
        """The same for any network and any number of batches."""

    @property
    def names(self) -> tuple[str, ...]:
        """See above."""

    def synthetic(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Phi_syn with the graph that leads back to x (and to soft labels y)."""

    def mean(self, x: Tensor, y: Tensor, omega: Tensor | None) -> dict[str, Tensor]:
        """Phi_real of one batch, detached."""

    def measure(self, x: Tensor, y: Tensor) -> Measured:
        """One pass that serves the mean, scores and weighted means."""

    def each(self, x: Tensor, y: Tensor) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """Chunks of phi_j `(k, ...)`, for weights outside the distance."""


class StatisticSpec(Protocol):
    """What a method declares."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def sees_labels(self) -> bool:
        """Whether labels of synthetic images are part of it."""

    @property
    def reads(self) -> frozenset[str]:
        """Settings of its own."""

    def at(
        self,
        net: nn.Module,
        plain: nn.Module,
        distance: Discrepancy,
        settings: Settings,
        generator: torch.Generator,
        compute: Compute,
    ) -> Bound:
        """The statistic at this theta; what it draws comes from `generator`.

        `plain`: the network as plain passes call it (compiled, perhaps).
        """


@dataclass(frozen=True)
class Gradient:
    """The gradient of the mean loss of a class."""

    name: str = "gradient"
    sees_labels: bool = True
    reads: frozenset[str] = frozenset({"sdc"})

    def at(
        self,
        net: nn.Module,
        plain: nn.Module,
        distance: Discrepancy,
        settings: Settings,
        generator: torch.Generator,
        compute: Compute,
    ) -> Bound:
        """See `StatisticSpec`."""
        names = tuple(n for n, p in net.named_parameters() if p.requires_grad and distance.uses(p))
        return BoundGradients(Gradients(names), names, net, plain, compute)


@dataclass(frozen=True)
class Embedding:
    """The mean embedding of a class."""

    name: str = "embedding"
    sees_labels: bool = False
    reads: frozenset[str] = frozenset()

    def at(
        self,
        net: nn.Module,
        plain: nn.Module,
        distance: Discrepancy,
        settings: Settings,
        generator: torch.Generator,
        compute: Compute,
    ) -> Bound:
        """See `StatisticSpec`."""
        return BoundMeans(Means(embedding), net, compute)


@dataclass(frozen=True)
class CharacteristicFunction:
    """The empirical characteristic function of a class's unit features at fresh Gaussian frequencies."""

    name: str = "characteristic function"
    sees_labels: bool = False
    reads: frozenset[str] = frozenset({"frequencies"})

    def at(
        self,
        net: nn.Module,
        plain: nn.Module,
        distance: Discrepancy,
        settings: Settings,
        generator: torch.Generator,
        compute: Compute,
    ) -> Bound:
        """See `StatisticSpec`."""
        return BoundMeans(Means(Waves(settings.frequencies, generator)), net, compute)


@dataclass(frozen=True)
class BoundGradients:
    """Gradients by `names`: the real side at the run's precision, both sides compiled where the run compiles."""

    statistic: Gradients
    names: tuple[str, ...]
    net: nn.Module
    plain: nn.Module
    compute: Compute

    def synthetic(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """See `Bound`."""
        if self.compute.fuses:
            return graphs.synthetic(self.compute.graphs, self.net, x, y, self.names)
        return self.statistic.synthetic(self.net, x, y)

    def mean(self, x: Tensor, y: Tensor, omega: Tensor | None) -> dict[str, Tensor]:
        """See `Bound`."""
        with self.compute.autocast():
            return real_gradient(self.plain, x, y, self.names, omega)

    def measure(self, x: Tensor, y: Tensor) -> Measured:
        """See `Bound`."""
        if self.compute.fuses and graphs.fits(self.net, self.names, len(x)) and readable(self.net, self.names, x, y):
            return graphs.real(self.compute.graphs, self.net, x, y, self.names)
        with self.compute.autocast():
            return self.statistic.measure(self.net, x, y)

    def each(self, x: Tensor, y: Tensor) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """See `Bound`."""
        return self.statistic.each(self.net, x, y)


@dataclass(frozen=True)
class BoundMeans:
    """Means of rows, the real side at the run's precision."""

    statistic: Means
    net: nn.Module
    compute: Compute

    @property
    def names(self) -> tuple[str, ...]:
        """See `Bound`."""
        return tuple(n for n, p in self.net.named_parameters() if p.requires_grad and p.dim() > 1)

    def synthetic(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """See `Bound`."""
        return self.statistic.synthetic(self.net, x, y)

    def mean(self, x: Tensor, y: Tensor, omega: Tensor | None) -> dict[str, Tensor]:
        """See `Bound`."""
        return self.measure(x, y).gradient(omega)

    def measure(self, x: Tensor, y: Tensor) -> MeasuredRows:
        """See `Bound`."""
        with self.compute.autocast():
            return self.statistic.measure(self.net, x, y)

    def each(self, x: Tensor, y: Tensor) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """See `Bound`."""
        yield slice(0, len(x)), self.measure(x, y).rows
