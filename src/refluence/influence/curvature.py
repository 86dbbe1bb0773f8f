"""x = (C + lambda I)^-1 v, the step from a gradient to an influence (Koh & Liang 2017, arXiv 1703.04730, eq. 2):

    dM/deps_j = -<q, H^-1 g_j> = -<H^-1 q, g_j>

The one solve depends only on v, so it serves every sample. C is the Gauss-Newton matrix (default), the Hessian, nothing
at all (identity: x = v), or a Kronecker-factored approximation (kfac.py). No sign is put in here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from refluence.errors import InputError
from refluence.influence.kfac import factored
from refluence.influence.losses import Loss, cross_entropy
from refluence.influence.operators import Operator, check_damping, check_vector, mean_diagonal, operator
from refluence.influence.parameters import Parameters, add, dot, parameters_of
from refluence.influence.solvers import Progress, Solved, lbfgs, lissa, pcg
from refluence.matching.statistics import Batches

__all__ = [
    "CURVATURES",
    "PRECONDITIONERS",
    "Curvature",
    "Operator",
    "Solution",
    "damped",
    "inverse_product",
    "mean_diagonal",
    "operator",
]

CURVATURES: dict[str, str] = {
    "identity": "no curvature: influence is the plain product of gradients",
    "ggn": "damped Gauss-Newton matrix, by preconditioned conjugate gradients",
    "hessian": "damped exact Hessian, by the same; stops where it is not positive definite",
    "kfac": "Kronecker factors of the Gauss-Newton matrix, inverted directly",
    "ekfac": "the same with corrected eigenvalues",
    "lbfgs": "damped Gauss-Newton matrix, by L-BFGS on the quadratic",
    "lissa": "damped Gauss-Newton matrix, by a Neumann series: slow, for comparison",
}
PRECONDITIONERS = ("none", "kfac", "ekfac")
SHORT_STEP = 20.0  # automatic damping away from a minimum, in mean diagonal entries


def _one_of(option: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise InputError(f"unknown {option} '{value}': choose one of {', '.join(allowed)}")


@dataclass(frozen=True)
class Curvature:
    """Which curvature, and how exactly it is inverted.

    `kind`: a key of `CURVATURES`. `damping`: all of lambda, or "auto" (see `operator`). `tolerance`: relative residual at which
    the iteration stops. `iterations`: their largest number. `preconditioner`: of conjugate gradients (kinds "ggn" and
    "hessian"), one of none, kfac, ekfac.
    """

    kind: str = "ggn"
    damping: float | str = "auto"
    tolerance: float = 1e-2
    iterations: int = 100
    preconditioner: str = "none"

    def __post_init__(self) -> None:
        _one_of("curvature", self.kind, CURVATURES)
        _one_of("preconditioner", self.preconditioner, PRECONDITIONERS)
        check_damping(self.damping)
        if not isinstance(self.tolerance, float) or not 0 < self.tolerance < 1:
            raise InputError(f"tolerance must be a relative residual in (0, 1), got {self.tolerance!r}")
        if not isinstance(self.iterations, int) or isinstance(self.iterations, bool) or self.iterations < 1:
            raise InputError(f"iterations must be a whole number, at least 1, got {self.iterations!r}")
        if self.preconditioner != "none" and self.kind not in ("ggn", "hessian"):
            raise InputError(f"preconditioner '{self.preconditioner}' is for ggn and hessian, got curvature '{self.kind}'")


@dataclass(frozen=True)
class Solution:
    """x of (C + damping I) x = v, and how it was found.

    `residuals`: |v - (C + damping I) x| / |v| from the start to the last iteration; for kfac and ekfac the one of their x
    on the Gauss-Newton matrix that they approximate; none for identity. `converged`: whether the iteration met its
    tolerance; true where there is no iteration. `products`: curvature products spent, those for the damping included.
    `note`: what the kind does to parameters outside the layers that K-FAC reads, if anything.
    """

    x: Parameters
    iterations: int
    residuals: tuple[float, ...]
    damping: float
    kind: str
    converged: bool
    products: int = 0
    note: str = ""


def inverse_product(
    model: nn.Module,
    batches: Batches,
    v: Parameters,
    curvature: Curvature = Curvature(),
    *,
    loss: Loss = cross_entropy,
    weight_decay: float = 0.0,
    names: Iterable[str] | None = None,
    x0: Parameters | None = None,
    progress: Progress | None = None,
) -> Solution:
    """(C + damping I)^-1 v for v by name with the shapes of the parameters in `names` (default: all).

    `batches`, `loss`, `weight_decay`: see `operator`; the same data serve every product. `x0`: where an iteration starts,
    such as the solution of a theta nearby. `progress(iteration, residual)` is called after every iteration, and at 0.

    Raises `IndefiniteError` when the damped Hessian is not positive definite, `RunError` when numbers are not finite, and
    `InputError` for everything that `operator`, `Curvature` and kfac.py do not take.
    """
    chosen = parameters_of(model, names)
    _check_finite("v", v, chosen)
    if x0 is not None:
        _check_finite("x0", x0, chosen)
    v = {name: v[name].detach().to(p) for name, p in chosen.items()}
    kind = curvature.kind if curvature.kind in ("identity", "hessian") else "ggn"
    made = operator(model, batches, kind, loss=loss, damping=curvature.damping, weight_decay=weight_decay, names=chosen)
    if kind == "identity":
        return Solution(made(v), 0, (), made.damping, kind, True)
    factors = next((k for k in (curvature.kind, curvature.preconditioner) if k in ("kfac", "ekfac")), None)
    inverse = None if factors is None else factored(made, corrected=factors == "ekfac", exact=curvature.kind == factors)
    note = "" if inverse is None else inverse.note
    if inverse is not None and curvature.kind == factors:
        solved = _direct(made, v, inverse(v), progress)
    else:
        x0 = None if x0 is None else {name: x0[name].detach().to(p) for name, p in chosen.items()}
        solve = {"lbfgs": lbfgs, "lissa": lissa}.get(curvature.kind) or partial(pcg, precondition=inverse)
        solved = solve(made, v, x0=x0, progress=progress, tolerance=curvature.tolerance, iterations=curvature.iterations)
    return Solution(
        solved.x,
        solved.iterations,
        solved.residuals,
        made.damping,
        curvature.kind,
        solved.converged,
        products=made.products,
        note=note,
    )


def damped(
    model: nn.Module,
    batches: Batches,
    curvature: Curvature,
    *,
    loss: Loss = cross_entropy,
    names: Iterable[str] | None = None,
) -> Curvature:
    """The same curvature with a number in place of "auto", for a network that is not at a minimum: `SHORT_STEP` mean diagonal
    entries of its Gauss-Newton matrix, so that the step that influence stands for stays short."""
    if curvature.damping != "auto" or curvature.kind == "identity":
        return curvature
    entry = mean_diagonal(operator(model, batches, loss=loss, damping=0.0, names=names))
    return replace(curvature, damping=SHORT_STEP * entry)


def _direct(made: Operator, v: Parameters, x: Parameters, progress: Progress | None) -> Solved:
    left = add(v, made(x), -1)
    residual = math.sqrt(dot(left, left) / (dot(v, v) or 1.0))
    if progress is not None:
        progress(0, residual)
    return Solved(x, (residual,), True)


def _check_finite(what: str, v: Parameters, chosen: Parameters) -> None:
    check_vector(v, chosen)
    for name, t in v.items():
        if not bool(torch.isfinite(t).all()):
            raise InputError(f"{what}['{name}'] has values that are not finite")
