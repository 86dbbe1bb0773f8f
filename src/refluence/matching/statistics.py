"""What is compared: a statistic Phi(theta) of weighted instances, linear in the weights, omega of mean 1 (w_j = omega_j / n):

    Phi = (1/n) sum_j omega_j phi_j(theta)          so that the explicit influence of j is <grad_2 D, phi_j>  (IWD eq. 24)

| statistic | phi_j | |
|---|---|---|
| `influence.Gradients` | grad l_j | gradients.py |
| `influence.Means` | rows of phi(net, x): embeddings, characteristic functions | features.py, characteristic.py |
| `influence.Samples` | the instance itself, {rows, weights} | kernel.py |

One protocol serves two kinds of use. On one batch that is already in memory (a matching step, the energy of a sampler):
`synthetic`, `measure`, `each`. Over any number of batches, in passes that fit memory (influence/distillation.py): `mean`,
`pull`, `scores`. Of one batch, `measure` and `mean`, `scores` are the same numbers up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import Tensor, nn

from refluence.matching.features import mean_statistic, row_scores

Targets = Tensor | tuple[Tensor, ...]
"""y of n instances, as the loss takes them."""
Batch = tuple[Tensor, Targets] | tuple[Tensor, Targets, Tensor | None]
"""(x, y) or (x, y, omega)."""
Batches = Iterable[Batch]
"""Batches that can be read again, as influence/batches.py reads them."""


class Measured(Protocol):
    """One pass over a batch of n instances, contracted as often as one likes."""

    @property
    def losses(self) -> Tensor:
        """l_j `(n,)`."""

    def gradient(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """(1/n) sum_j omega_j phi_j, detached; None: ones."""

    def scores(self, v: dict[str, Tensor]) -> Tensor:
        """<v, phi_j> `(n,)`."""


class Statistic(Protocol):
    """Phi of any network and any instances, and its derivatives. The network is left as it was."""

    def synthetic(self, model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Phi of one batch, omega = 1, with the graph that leads back to x (and to soft labels y)."""

    def measure(self, model: nn.Module, x: Tensor, y: Tensor) -> Measured:
        """One pass over one batch for its mean, weighted means, scores and losses."""

    def each(self, model: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """Chunks of (positions, k of them; phi_j `(k, ...)` by name), for weights outside the distance."""

    def mean(self, model: nn.Module, batches: Batches) -> dict[str, Tensor]:
        """Phi over all batches, detached."""

    def pull(
        self, model: nn.Module, batches: Batches, v: dict[str, Tensor], names: Iterable[str] | None = None
    ) -> dict[str, Tensor]:
        """J^T v = d/dtheta <Phi(theta), v>, v held fixed, by the parameters in `names` (default: all)."""

    def scores(self, model: nn.Module, batches: Batches, v: dict[str, Tensor]) -> Tensor:
        """<v, phi_j> `(n,)` in the order of the batches: no factor omega_j, the derivative by w_j."""


@dataclass
class MeasuredRows:
    """`Measured` of phi_j `(n, ...)` that are held by name; the losses are taken when they are first asked for."""

    rows: dict[str, Tensor]
    take_losses: Callable[[], Tensor]

    @cached_property
    def losses(self) -> Tensor:
        """l_j `(n,)`."""
        return self.take_losses()

    def gradient(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """(1/n) sum_j omega_j phi_j."""
        return mean_statistic(self.rows, weights)

    def scores(self, v: dict[str, Tensor]) -> Tensor:
        """<v, phi_j> `(n,)`."""
        return row_scores(v, self.rows)
