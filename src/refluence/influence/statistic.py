"""What distillation influence needs of a statistic Phi(theta) of weighted instances, at one theta and given a vector v:

    mean     Phi = (1/n) sum_j omega_j phi_j(theta)              omega of mean 1, w_j = omega_j / n on the bag's simplex
    pull     J^T v = d/dtheta <Phi(theta), v>                    v held fixed (IWD eq. 22, J_syn^T grad_1 D + J_real^T grad_2 D)
    scores   <v, phi_j> for every j                              no factor omega_j: the derivative by w_j (IWD eq. 24)

| statistic | phi_j | pull |
|---|---|---|
| `Gradients` | grad l_j | a Hessian-vector product, by double backward |
| `Means` | rows of phi(net, x): embeddings, characteristic functions | one backward |
| `Samples` | the instance itself, {rows, weights} (kernels) | one backward; v["weights"] is the explicit influence |

All run over re-iterable batches (x, y) or (x, y, omega), in passes that fit memory (batches.py); the model is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from refluence.functional import call_at
from refluence.influence.batches import Batches, check_fixed, passes
from refluence.influence.directional import scores
from refluence.influence.losses import Targets, cross_entropy
from refluence.influence.operators import operator
from refluence.influence.parameters import Parameters, parameters_of, zeros
from refluence.influence.risk import risk_gradient
from refluence.matching.features import row_scores

Rows = Callable[[nn.Module, Tensor], Mapping[str, Tensor]]  # (net, x (B, ...)) -> name -> (B, ...)


class Statistic(Protocol):
    """The three contractions above. `names`: the parameters to differentiate by, default all."""

    def mean(self, model: nn.Module, batches: Batches) -> Parameters:
        """Phi, detached."""

    def pull(self, model: nn.Module, batches: Batches, v: Parameters, names: Iterable[str] | None = None) -> Parameters:
        """J^T v, shaped like the parameters in `names`."""

    def scores(self, model: nn.Module, batches: Batches, v: Parameters) -> Tensor:
        """<v, phi_j> `(n,)` in the order of the batches."""


@dataclass(frozen=True)
class Gradients:
    """phi_j = grad l_j by the parameters in `names` (None: all), of the matching `loss(model(x), y) -> (B,)`.

    `scorer(x, y, v) -> (B,)` gives <v, grad l_j> of that loss (None: `directional.scores`).
    """

    names: tuple[str, ...] | None = None
    loss: Callable[..., Tensor] = cross_entropy
    scorer: Callable[[Tensor, Targets, Parameters], Tensor] | None = None

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
        return torch.cat([one(x, y, v) for x, y, _ in _checked(model, batches)])


@dataclass(frozen=True)
class Means:
    """phi_j = the rows that `phi(net, x)` gives by name, as matching/features.py and matching/characteristic.py make them."""

    phi: Rows

    def mean(self, model: nn.Module, batches: Batches) -> Parameters:
        """(1/n) sum_j omega_j phi_j."""
        total: Parameters = {}
        count = 0
        with torch.no_grad():
            for x, _, omega in _checked(model, batches):
                for name, t in self.phi(model, x).items():
                    part = t.sum(0) if omega is None else torch.tensordot(omega.to(t), t, 1)
                    total[name] = total[name] + part if name in total else part
                count += len(x)
        return {name: t / count for name, t in total.items()}

    def pull(self, model: nn.Module, batches: Batches, v: Parameters, names: Iterable[str] | None = None) -> Parameters:
        """d/dtheta (1/n) sum_j omega_j <v, phi_j(theta)>."""
        total, count = zeros(parameters_of(model, names)), 0
        moving = _leaves(model, total)
        for x, _, omega in _checked(model, batches):
            with torch.enable_grad():
                each = row_scores(v, _call(self.phi, model, moving, x))
                dot = each.sum() if omega is None else each @ omega.to(each)
            _accumulate(total, dot, moving)
            count += len(x)
        return {k: t / count for k, t in total.items()}

    def scores(self, model: nn.Module, batches: Batches, v: Parameters) -> Tensor:
        """<v, phi_j>, by forward passes."""
        with torch.no_grad():
            return torch.cat([row_scores(v, self.phi(model, x)) for x, _, _ in _checked(model, batches)])


@dataclass(frozen=True)
class Samples:
    """The weighted sample itself, for discrepancies that look at every row (matching/kernel.py): {"rows", "weights"}.

    `embed(net, x)` gives `(B, F)`. All rows of a class are held at once: n F numbers.
    """

    embed: Callable[[nn.Module, Tensor], Tensor]

    def mean(self, model: nn.Module, batches: Batches) -> Parameters:
        """{"rows": (n, F), "weights": omega/n}."""
        rows, omegas = [], []
        with torch.no_grad():
            for x, _, omega in _checked(model, batches):
                rows.append(self.embed(model, x))
                omegas.append(rows[-1].new_ones(len(x)) if omega is None else omega.to(rows[-1]))
        return {"rows": torch.cat(rows), "weights": torch.cat(omegas) / sum(map(len, rows))}

    def pull(self, model: nn.Module, batches: Batches, v: Parameters, names: Iterable[str] | None = None) -> Parameters:
        """d/dtheta sum_j <v_j, row_j(theta)> for v["rows"] `(n, F)`; the weights do not depend on theta."""
        total, start = zeros(parameters_of(model, names)), 0
        moving = _leaves(model, total)
        for x, _, _ in _checked(model, batches):
            with torch.enable_grad():
                rows = _call(lambda net, x: {"rows": self.embed(net, x)}, model, moving, x)["rows"]
                dot = (rows * v["rows"][start : start + len(x)].detach()).sum()
            _accumulate(total, dot, moving)
            start += len(x)
        return total

    def scores(self, model: nn.Module, batches: Batches, v: Parameters) -> Tensor:
        """v["weights"] itself: D's derivative by the weight of each row. Others: `MMD.witness`."""
        return v["weights"]


class _Rows(nn.Module):
    """A function of the network and its input as a module, so that it can be called with other parameters."""

    def __init__(self, net: nn.Module, phi: Rows):
        super().__init__()
        self.net, self.phi = net, phi

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        return self.phi(self.net, x)


def _call(phi: Rows, model: nn.Module, moving: Parameters, x: Tensor) -> Mapping[str, Tensor]:
    parameters = {f"net.{k}": p for k, p in {**parameters_of(model), **moving}.items()}
    return call_at(_Rows(model, phi), parameters, x)


def _leaves(model: nn.Module, names: Iterable[str] | None) -> Parameters:
    return {k: p.clone().requires_grad_() for k, p in parameters_of(model, names).items()}


def _checked(model: nn.Module, batches: Batches) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    check_fixed(model)
    return passes(batches, next(iter(parameters_of(model).values())).device)


def _accumulate(total: Parameters, dot: Tensor, moving: Parameters) -> None:
    if not dot.requires_grad:  # nothing here depends on the chosen parameters
        return
    gradients = torch.autograd.grad(dot, [moving[k] for k in total], materialize_grads=True)
    for k, g in zip(total, gradients, strict=True):
        total[k] += g
