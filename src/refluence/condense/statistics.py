"""What is compared, bound to one network and one class batch: Phi_syn with its graph, Phi_real plain, weighted, per instance.

    gradient        phi_j = grad_theta l_j of the parameters that the discrepancy uses              DC, DSA, IDC, DREAM, PDD
    embedding       phi_j = the flattened features before the classifier                            DM, IDM
    characteristic  phi_j = exp(i <t, f_j>), f_j the features of unit length, t fresh each time     NCFM

Each is linear in the weights, Phi = (1/n) sum_j omega_j phi_j, so that the explicit influence is <grad_2 D, phi_j>.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from refluence.compute import Compute
from refluence.condense import graphs
from refluence.condense.settings import Settings
from refluence.influence import losses
from refluence.influence import statistic as engine
from refluence.influence.capture import capture, readable
from refluence.influence.rows import one_by_one, square, trusted
from refluence.matching.characteristic import characteristic, frequencies
from refluence.matching.discrepancies import Discrepancy
from refluence.matching.features import embedding, mean_statistic, row_scores
from refluence.matching.statistics import CHUNK, per_sample_gradients, real_gradient, synthetic_gradient

Values = Mapping[str, Tensor]


class Measured(Protocol):
    """One pass over a real batch of n instances."""

    losses: Tensor  # (n,)

    def gradient(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """(1/n) sum_j omega_j phi_j; None: ones."""

    def scores(self, v: dict[str, Tensor]) -> Tensor:
        """<v, phi_j> `(n,)`."""


class Bound(Protocol):
    """A statistic at one theta. `engine`: the same for influence/distillation.py.

    `names`: the parameters whose gradient says how difficult an instance is: those that gradients are compared by; where
    embeddings are compared, every weight of the network, the classifier's too (ours).
    """

    engine: engine.Statistic
    names: list[str]

    def synthetic(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Phi_syn with the graph that leads back to x (and to soft labels y)."""

    def mean(self, x: Tensor, y: Tensor, omega: Tensor | None) -> dict[str, Tensor]:
        """Phi_real, detached."""

    def measure(self, x: Tensor, y: Tensor) -> Measured:
        """One pass that serves the mean, scores and weighted means."""

    def each(self, x: Tensor, y: Tensor) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """Chunks of phi_j `(k, ...)`, for weights outside the distance."""


class Statistic(Protocol):
    """`at` binds it to a network; `plain` is the network as plain passes call it (compiled, perhaps)."""

    name: str
    sees_labels: bool
    reads: frozenset[str]  # settings of its own

    def at(
        self,
        net: nn.Module,
        plain: nn.Module,
        distance: Discrepancy,
        settings: Settings,
        generator: torch.Generator,
        compute: Compute,
    ) -> Bound:
        """The statistic at this theta; what it draws comes from `generator`."""


@dataclass(frozen=True)
class Gradient:
    """The gradient of the mean loss of a class."""

    name: str = "gradient"
    sees_labels: bool = True
    reads: frozenset[str] = frozenset({"sdc"})

    def at(self, net, plain, distance, settings, generator, compute) -> Bound:
        """See `Statistic`."""
        return _GradientAt(net, plain, [n for n, p in net.named_parameters() if distance.uses(p)], compute)


@dataclass(frozen=True)
class _GradientAt:
    net: nn.Module
    plain: nn.Module
    names: list[str]
    compute: Compute

    @property
    def engine(self) -> engine.Statistic:
        return engine.Gradients(tuple(self.names))

    def synthetic(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        if self.compute.fuses:
            return graphs.synthetic(self.compute.graphs, self.net, x, y, self.names)
        return synthetic_gradient(self.net, x, y, self.names)

    def mean(self, x: Tensor, y: Tensor, omega: Tensor | None) -> dict[str, Tensor]:
        with self.compute.autocast():
            return real_gradient(self.plain, x, y, self.names, omega)

    def measure(self, x: Tensor, y: Tensor) -> Measured:
        if self.compute.fuses and graphs.fits(self.net, self.names, len(x)) and readable(self.net, tuple(self.names), x, y):
            return graphs.real(self.compute.graphs, self.net, x, y, self.names)
        with self.compute.autocast():
            return capture(self.net, x, y, names=self.names)

    def each(self, x: Tensor, y: Tensor) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        return instance_gradients(self.net, x, y, self.names)


@dataclass(frozen=True)
class Embedding:
    """The mean embedding of a class."""

    name: str = "embedding"
    sees_labels: bool = False
    reads: frozenset[str] = frozenset()

    def at(self, net, plain, distance, settings, generator, compute) -> Bound:
        """See `Statistic`."""
        return _RowsAt(net, embedding, compute)


@dataclass(frozen=True)
class CharacteristicFunction:
    """The empirical characteristic function of a class's unit features at fresh Gaussian frequencies."""

    name: str = "characteristic function"
    sees_labels: bool = False
    reads: frozenset[str] = frozenset({"frequencies"})

    def at(self, net, plain, distance, settings, generator, compute) -> Bound:
        """See `Statistic`."""
        return _RowsAt(net, _Waves(settings.frequencies, generator), compute)


class _Waves:
    """exp(i <t, f>) of unit features, at frequencies drawn when their width is first seen and then kept."""

    def __init__(self, count: int, generator: torch.Generator):
        self.count, self.generator, self.t = count, generator, None

    def __call__(self, net: nn.Module, x: Tensor) -> dict[str, Tensor]:
        f = normalize(embedding(net, x)["features"], dim=1)
        if self.t is None:
            self.t = frequencies(self.count, f.shape[1], self.generator).to(f)
        return characteristic(f, self.t)


@dataclass(frozen=True)
class _RowsAt:
    net: nn.Module
    phi: engine.Rows
    compute: Compute

    @property
    def engine(self) -> engine.Statistic:
        return engine.Means(self.phi)

    @property
    def names(self) -> list[str]:
        return [n for n, p in self.net.named_parameters() if p.dim() > 1]

    def synthetic(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return mean_statistic(self.phi(self.net, x))

    def mean(self, x: Tensor, y: Tensor, omega: Tensor | None) -> dict[str, Tensor]:
        return self.measure(x, y).gradient(omega)

    def measure(self, x: Tensor, y: Tensor) -> Measured:
        return _Rows(self.net, x, y, self._rows(x))

    def each(self, x: Tensor, y: Tensor) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        yield slice(0, len(x)), self._rows(x)

    def _rows(self, x: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), self.compute.autocast():
            parts = [self.phi(self.net, part) for part in x.split(CHUNK)]
        return {name: torch.cat([part[name] for part in parts]).to(x.dtype) for name in parts[0]}


@dataclass
class _Rows:
    net: nn.Module
    x: Tensor
    y: Tensor
    rows: dict[str, Tensor]

    @cached_property
    def losses(self) -> Tensor:
        with torch.no_grad():
            parts = zip(self.x.split(CHUNK), self.y.split(CHUNK), strict=True)
            return torch.cat([cross_entropy(self.net(x), y, reduction="none") for x, y in parts])

    def gradient(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        return mean_statistic(self.rows, weights)

    def scores(self, v: dict[str, Tensor]) -> Tensor:
        return row_scores(v, self.rows)


def instance_gradients(net: nn.Module, x: Tensor, y: Tensor, names: Sequence[str]) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Chunks of (positions, gradients `(k, *shape)` by name), several instances at a time where that is exact."""

    def at_once(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return next(per_sample_gradients(net, x, y, names))[1]

    if trusted(net, names, x, y, losses.cross_entropy, at_once, "instance gradients"):
        yield from per_sample_gradients(net, x, y, names)
    else:
        for start in range(0, len(x), CHUNK):
            part = slice(start, start + CHUNK)
            yield part, one_by_one(net, names, x[part], y[part], losses.cross_entropy)


def gradient_norms(bound: Bound, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """|grad l_j| `(n,)` by `bound.names`: GraDN, the difficulty of arXiv 2408.12483, sec. 3."""
    squares = [sum(square(g) for g in gradients.values()) for _, gradients in instance_gradients(net, x, y, bound.names)]
    return torch.cat(squares).sqrt()
