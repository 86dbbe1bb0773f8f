"""The influence of a real instance on the distillation objective (IWD, arXiv 2510.27253, eq. 8-26).

    M(S; D, w) = E_theta0 sum_t sum_c D(a_c, b_c),       a_c = Phi_syn(S; theta_t),   b_c = Phi_real(D, w; theta_t)
    I_j = dM/dw_j = E sum_t  <grad_2 D, s_j>  +  <q, u_j>                                                    (eq. 22, 26)
                             explicit            implicit
    s_j = db/dw_j at fixed theta      q = sum_c J_syn^T grad_1 D + J_real^T grad_2 D = dD/dtheta      u_j = dtheta_t/dw_j

    S_inner = S:                 u_j = 0                                                                     (eq. 24)
    S_inner = D, stationary:     u_j = -H^-1 grad l_j,  so  <q, u_j> = -<H^-1 q, grad l_j>: one solve for all j  (eq. 23)
    S_inner = D, as trained:     unrolled.py

**Which w.** One simplex over D: w_j = 1/N at the start, nudged without renormalising (eq. 8). Inner training minimises
sum_j w_j l_j (+ a regulariser, part of H). A class mean keeps its normaliser n_c/N while w is nudged, so for j of class c

    b_c = (N/n_c) sum_j w_j phi_j,      s_j = (N/n_c) phi_j,      u_j = -H^-1 grad l_j   without that factor

and where phi_j = grad l_j both terms are one scoring pass, along (N/n_c) grad_2 D_c - H^-1 q. The code's omega has mean 1:
omega_j = N w_j over D and in each class, so dM/domega_j = I_j / N. With `factor` = 1 the explicit term is the derivative by
weights of one simplex per class (or class batch), n_c/N of the above, the scale that `explicit` and DC's scores have.

Positive I_j: more weight on j raises the discrepancy; the instance is not matched yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from refluence.errors import InputError
from refluence.influence.capture import Capture
from refluence.influence.losses import Loss, cross_entropy
from refluence.influence.parameters import Parameters, add, parameters_of, zeros
from refluence.influence.running import RunningInfluence
from refluence.influence.statistic import Gradients
from refluence.matching.discrepancies import Discrepancy, Distance, first_derivative, second_derivative
from refluence.matching.statistics import Batches, Statistic, Targets

__all__ = [
    "DistillationInfluence",
    "Matched",
    "Pair",
    "RunningInfluence",
    "combined",
    "distillation_influence",
    "explicit",
    "match",
]

TERMS = ("explicit", "implicit", "both")


def explicit(capture: Capture, direction: Parameters) -> Tensor:
    """I_j `(B,)` of one class batch at one theta, along `direction` = grad_2 D(a, b)  (eq. 24, one term of the sum)."""
    return capture.scores(direction)


@dataclass(frozen=True)
class Pair:
    """One class's term D(a_c, b_c) at one theta.

    `synthetic`, `real`: batches (x, y) or (x, y, omega), augmented as they are matched and the same at every reading.
    `factor` is N/n_c, or 1 for weights of one simplex per class. `inner`: the same instances in the same order as inner
    training saw them (default: as in `real`), for the implicit term.
    """

    synthetic: Batches
    real: Batches
    factor: float = 1.0
    inner: Batches | None = None


@dataclass(frozen=True)
class Matched:
    """sum_c D at one theta, grad_2 D of every pair, and q = d/dtheta sum_c D (None if it was not asked for)."""

    value: float
    seconds: list[Parameters]
    q: Parameters | None


@dataclass(frozen=True)
class DistillationInfluence:
    """I_j `(n,)` of each pair's real instances, in their order; the terms' `value` sum_c D; q and x = H^-1 q, if solved."""

    scores: list[Tensor]
    value: float
    q: Parameters | None
    solution: Parameters | None


def match(
    model: nn.Module,
    pairs: Iterable[Pair],
    statistic: Statistic,
    discrepancy: Discrepancy | Distance,
    *,
    total: bool = True,
    names: Iterable[str] | None = None,
) -> Matched:
    """sum_c D(a_c, b_c), its grad_2, and with `total` the total derivative q through both sides (eq. 22).

    For gradient statistics q is two Hessian-vector products a pair, by double backward. `names`: the parameters that inner
    training moves (default: all), also those that the statistic leaves out.
    """
    value, seconds = 0.0, []
    q = zeros(parameters_of(model, names)) if total else None
    for pair in pairs:
        distance, v, q = term(model, statistic, discrepancy, pair.synthetic, pair.real, q)
        value += distance
        seconds.append(v)
    return Matched(value, seconds, q)


def term(
    model: nn.Module,
    statistic: Statistic,
    discrepancy: Discrepancy | Distance,
    synthetic: Batches,
    real: Batches,
    q: Parameters | None,
) -> tuple[float, Parameters, Parameters | None]:
    """D(a_c, b_c) of one class, grad_2 D, and q + J_syn^T grad_1 D + J_real^T grad_2 D (None stays None)."""
    a, b = statistic.mean(model, synthetic), statistic.mean(model, real)
    distance, v = second_derivative(discrepancy, a, b)
    if q is not None:
        _, u = first_derivative(discrepancy, a, b)
        for side, cotangent in ((synthetic, u), (real, v)):
            q = add(q, statistic.pull(model, side, cotangent, q))
    return float(distance), v, q


def combined(v: Parameters, x: Parameters, factor: float = 1.0) -> Parameters:
    """The direction `factor` v - x of both terms at once, for gradient statistics; a name may be in only one of them."""
    out = {name: -t for name, t in x.items()}
    return {**out, **{name: factor * t + out[name] if name in out else factor * t for name, t in v.items()}}


def distillation_influence(
    model: nn.Module,
    pairs: Sequence[Pair],
    statistic: Statistic,
    discrepancy: Discrepancy | Distance,
    *,
    terms: str = "explicit",
    solve: Callable[[Parameters], Parameters] | None = None,
    loss: Loss = cross_entropy,
    names: Iterable[str] | None = None,
    scorer: Callable[[Tensor, Targets, Parameters], Tensor] | None = None,
) -> DistillationInfluence:
    """I_j of every real instance of `pairs` at one theta: one term of the sum over t, at a stationary point (eq. 22, 23).

    `terms`: "explicit" (all there is for S_inner = S), "implicit" or "both". `solve` maps q to H^-1 q, with H the Hessian
    (or Gauss-Newton matrix) of the *mean* inner loss plus its regulariser: `lambda q: inverse_product(model, train, q).x`.
    `loss(model(x), y) -> (B,)` is the inner training's loss of an instance; where it is that of a gradient statistic too, and
    no pair has `inner` batches of its own, both terms come from one scoring pass. `names`: parameters that inner training
    moves (default: all). `scorer(x, y, v) -> (B,)`: <v, grad l_j> of `loss`, as `Gradients` takes it.

    Raises `InputError` for unknown terms and for an implicit term without `solve`.
    """
    if terms not in TERMS:
        raise InputError(f"unknown terms '{terms}': choose one of {', '.join(TERMS)}")
    if terms != "explicit" and solve is None:
        raise InputError(f"terms={terms} needs solve, a function that maps q to H^-1 q")
    pairs = list(pairs)
    matched = match(model, pairs, statistic, discrepancy, total=terms != "explicit", names=names)
    if matched.q is None or solve is None:
        each = zip(pairs, matched.seconds, strict=True)
        parts = [pair.factor * statistic.scores(model, pair.real, v) for pair, v in each]
        return DistillationInfluence(parts, matched.value, None, None)
    x = solve(matched.q)
    gradients = statistic if isinstance(statistic, Gradients) and statistic.loss == loss else None
    inner, parts = Gradients(None, loss, scorer or (gradients.scorer if gradients else None)), []
    for pair, v in zip(pairs, matched.seconds, strict=True):
        seen = pair.real if pair.inner is None else pair.inner
        if terms == "implicit":
            parts.append(-inner.scores(model, seen, x))
        elif gradients and pair.inner is None:
            parts.append(inner.scores(model, seen, combined(v, x, pair.factor)))
        else:
            part = pair.factor * statistic.scores(model, pair.real, v)
            parts.append(part - inner.scores(model, seen, x))
    return DistillationInfluence(parts, matched.value, matched.q, x)
