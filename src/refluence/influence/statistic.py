"""The statistics that can be compared (`matching.statistics.Statistic`), with what influence needs of them:

| statistic | phi_j | measure | pull |
|---|---|---|---|
| `Gradients` | grad l_j | one captured pass, no grad l_j held | a Hessian-vector product, by double backward |
| `Means` | rows of phi(net, x): embeddings, characteristic functions | forward passes | one backward |
| `Samples` | the instance itself, {rows, weights} (kernels) | forward passes | one backward |

Of `Samples`, v["weights"] is the explicit influence. `mean`, `pull` and `scores` run over re-iterable batches (x, y) or
(x, y, omega), in passes that fit memory (batches.py); the model is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from refluence.influence.capture import Capture, capture
from refluence.influence.directional import scores
from refluence.influence.losses import Loss, cross_entropy
from refluence.influence.operators import operator
from refluence.influence.parameters import Parameters, parameters_of
from refluence.influence.pulls import Rows, checked, pulled
from refluence.influence.replay import Replay
from refluence.influence.risk import risk_gradient
from refluence.influence.rows import instance_gradients
from refluence.matching.discrepancies import Values
from refluence.matching.features import row_scores
from refluence.matching.gradients import CHUNK, synthetic_gradient
from refluence.matching.kernel import sample
from refluence.matching.statistics import Batches, MeasuredRows, Targets


@dataclass(frozen=True)
class Gradients:
    """phi_j = grad l_j by the parameters in `names` (None: all), of the matching `loss(model(x), y) -> (B,)`.

    `scorer(x, y, v) -> (B,)` gives <v, grad l_j> of that loss (None: `directional.scores`).
    """

    names: tuple[str, ...] | None = None
    loss: Loss = cross_entropy
    scorer: Callable[[Tensor, Targets, Parameters], Tensor] | None = None

    def synthetic(self, model: nn.Module, x: Tensor, y: Tensor) -> Parameters:
        """The gradient of the mean loss, differentiable once more."""
        names = tuple(parameters_of(model, self.names))
        if self.loss is cross_entropy:
            return synthetic_gradient(model, x, y, names)
        moving = dict(model.named_parameters())
        gradients = torch.autograd.grad(self.loss(model(x), y).mean(), [moving[n] for n in names], create_graph=True)
        return dict(zip(names, gradients, strict=True))

    def measure(self, model: nn.Module, x: Tensor, y: Tensor) -> Capture | Replay:
        """One captured pass (capture.py)."""
        return capture(model, x, y, loss=self.loss, names=self.names)

    def each(self, model: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[slice, Parameters]]:
        """grad l_j itself, several at a time where that is exact."""
        return instance_gradients(model, x, y, tuple(parameters_of(model, self.names)), self.loss)

    def mean(self, model: nn.Module, batches: Batches) -> Parameters:
        """The gradient of (1/n) sum_j omega_j l_j."""
        return risk_gradient(model, batches, self.loss, self.names)[0]

    def pull(self, model: nn.Module, batches: Batches, v: Parameters, names: Iterable[str] | None = None) -> Parameters:
        """(1/n) sum_j omega_j H_j v, where v may name other parameters than `names`."""
        wanted = parameters_of(model, names)
        both = parameters_of(model, {*wanted, *v})
        product = operator(model, batches, "hessian", loss=self.loss, damping=0.0, names=both)
        found = product({k: v[k] if k in v else torch.zeros_like(p) for k, p in both.items()})
        return {k: found[k] for k in wanted}

    def scores(self, model: nn.Module, batches: Batches, v: Parameters) -> Tensor:
        """<v, g_j>."""
        one = self.scorer or partial(scores, model, loss=self.loss)
        return torch.cat([one(x, y, v) for x, y, _ in checked(model, batches)])


@dataclass(frozen=True)
class Means:
    """phi_j = the rows that `phi(net, x)` gives by name, as matching/features.py and matching/characteristic.py make them."""

    phi: Rows

    def synthetic(self, model: nn.Module, x: Tensor, y: Tensor) -> Parameters:
        """(1/n) sum_j phi_j, with its graph."""
        return {name: t.mean(0) for name, t in self.phi(model, x).items()}

    def measure(self, model: nn.Module, x: Tensor, y: Tensor) -> MeasuredRows:
        """Every row of the batch, and the cross-entropy of each instance when it is asked for."""
        return MeasuredRows(_rows(self.phi, model, x), partial(_losses, model, x, y))

    def each(self, model: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[slice, Parameters]]:
        """All rows at once."""
        yield slice(0, len(x)), _rows(self.phi, model, x)

    def mean(self, model: nn.Module, batches: Batches) -> Parameters:
        """(1/n) sum_j omega_j phi_j."""
        total: Parameters = {}
        count = 0
        with torch.no_grad():
            for x, _, omega in checked(model, batches):
                for name, t in self.phi(model, x).items():
                    part = t.sum(0) if omega is None else torch.tensordot(omega.to(t), t, 1)
                    total[name] = total[name] + part if name in total else part
                count += len(x)
        return {name: t / count for name, t in total.items()}

    def pull(self, model: nn.Module, batches: Batches, v: Parameters, names: Iterable[str] | None = None) -> Parameters:
        """d/dtheta (1/n) sum_j omega_j <v, phi_j(theta)>."""

        def dot(rows: Values, omega: Tensor | None, places: slice) -> Tensor:
            each = row_scores(v, rows)
            return each.sum() if omega is None else each @ omega.to(each)

        total, count = pulled(model, batches, names, self.phi, dot)
        return {k: t / count for k, t in total.items()}

    def scores(self, model: nn.Module, batches: Batches, v: Parameters) -> Tensor:
        """<v, phi_j>, by forward passes."""
        with torch.no_grad():
            return torch.cat([row_scores(v, self.phi(model, x)) for x, _, _ in checked(model, batches)])


@dataclass(frozen=True)
class Samples:
    """The weighted sample itself, for discrepancies that look at every row (matching/kernel.py): {"rows", "weights"}.

    `embed(net, x)` gives `(B, F)`. All rows of a class are held at once: n F numbers.
    """

    embed: Callable[[nn.Module, Tensor], Tensor]

    def rows(self, model: nn.Module, x: Tensor) -> Parameters:
        """{"rows": (B, F)}."""
        return {"rows": self.embed(model, x)}

    def synthetic(self, model: nn.Module, x: Tensor, y: Tensor) -> Parameters:
        """{"rows": (n, F), "weights": 1/n}, the rows with their graph."""
        return sample(self.embed(model, x))

    def measure(self, model: nn.Module, x: Tensor, y: Tensor) -> MeasuredSample:
        """Every row of the batch, and the cross-entropy of each instance when it is asked for."""
        return MeasuredSample(_rows(self.rows, model, x), partial(_losses, model, x, y))

    def each(self, model: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[slice, Parameters]]:
        """Samples of one instance: {"rows": (n, 1, F), "weights": (n, 1)}."""
        rows = _rows(self.rows, model, x)["rows"]
        yield slice(0, len(x)), {"rows": rows[:, None], "weights": rows.new_ones(len(x), 1)}

    def mean(self, model: nn.Module, batches: Batches) -> Parameters:
        """{"rows": (n, F), "weights": omega/n}."""
        rows, omegas = [], []
        with torch.no_grad():
            for x, _, omega in checked(model, batches):
                rows.append(self.embed(model, x))
                omegas.append(rows[-1].new_ones(len(x)) if omega is None else omega.to(rows[-1]))
        return {"rows": torch.cat(rows), "weights": torch.cat(omegas) / sum(map(len, rows))}

    def pull(self, model: nn.Module, batches: Batches, v: Parameters, names: Iterable[str] | None = None) -> Parameters:
        """d/dtheta sum_j <v_j, row_j(theta)> for v["rows"] `(n, F)`; the weights do not depend on theta."""

        def dot(rows: Values, omega: Tensor | None, places: slice) -> Tensor:
            return (rows["rows"] * v["rows"][places].detach()).sum()

        return pulled(model, batches, names, self.rows, dot)[0]

    def scores(self, model: nn.Module, batches: Batches, v: Parameters) -> Tensor:
        """v["weights"] itself: D's derivative by the weight of each row. Others: `MMD.witness`."""
        return v["weights"]


class MeasuredSample(MeasuredRows):
    """`Measured` of a weighted sample."""

    def gradient(self, weights: Tensor | None = None) -> Parameters:
        """{"rows": (n, F), "weights": omega/n}."""
        return sample(self.rows["rows"], weights)

    def scores(self, v: Parameters) -> Tensor:
        """v["weights"] `(n,)`, the derivative by the weight of each row."""
        return v["weights"]


def _rows(phi: Rows, model: nn.Module, x: Tensor) -> Parameters:
    with torch.no_grad():
        parts = [phi(model, part) for part in x.split(CHUNK)]
    return {name: torch.cat([part[name] for part in parts]).to(x.dtype) for name in parts[0]}


def _losses(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        parts = zip(x.split(CHUNK), y.split(CHUNK), strict=True)
        return torch.cat([cross_entropy(model(a), b) for a, b in parts])
