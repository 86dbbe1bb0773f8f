"""Solvers of A x = b for a positive definite operator A on parameters, each on one fixed A and one fixed b.

    pcg      preconditioned conjugate gradients (Hestenes & Stiefel 1952; Nocedal & Wright 2006, alg. 5.3)
    lbfgs    the minimum of <x, A x>/2 - <b, x> by limited-memory BFGS (Liu & Nocedal 1989)
    lissa    x <- x + (b - A x)/s, the Neumann series of A/s (Agarwal et al. 2017, arXiv 1602.03943, eq. 7), here on all
             data at every step and with s above the largest eigenvalue, so that it cannot diverge

All stop at a relative residual |b - A x| / |b| or a number of iterations, start at x0 (0 by default), report
`progress(iteration, residual)`, and raise `IndefiniteError` on a direction of non-positive curvature. Dot products are in
float64 (parameters.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from refluence.errors import RunError
from refluence.influence.parameters import Parameters, add, dot, scaled, zeros

Apply = Callable[[Parameters], Parameters]
Progress = Callable[[int, float], None]

REPLACE = 50  # steps after which the residual of CG is computed anew: its recursion drifts, in float32 above all
POWER, MARGIN = 12, 1.2  # power iterations for the largest eigenvalue, and what is put on top of their estimate
SEED = 0


class IndefiniteError(RunError):
    """The operator is not positive definite: the message gives p^T A p, the iteration and what to do."""


@dataclass(frozen=True)
class Solved:
    """`x`, the relative residuals from the start on (`residuals[0]` before the first step), and whether the last will do."""

    x: Parameters
    residuals: tuple[float, ...]
    converged: bool

    @property
    def iterations(self) -> int:
        """Steps taken."""
        return len(self.residuals) - 1


def pcg(
    apply: Apply,
    b: Parameters,
    *,
    tolerance: float = 1e-2,
    iterations: int = 100,
    x0: Parameters | None = None,
    precondition: Apply | None = None,
    progress: Progress | None = None,
) -> Solved:
    """Preconditioned conjugate gradients; `precondition(r)` approximates A^-1 r and must be symmetric positive definite."""
    trace = _Trace(b, tolerance, progress)
    x, r = _start(apply, b, x0)
    if trace(r):
        return trace.solved(x)
    z = r if precondition is None else precondition(r)
    p, rz = z, _positive(dot(r, z), trace, precondition is not None)
    for step in range(1, iterations + 1):
        ap = apply(p)
        curvature = dot(p, ap)
        if not curvature > 0:
            raise _fault(curvature, dot(p, p), step)
        alpha = rz / curvature
        x = add(x, p, alpha)
        r = add(r, ap, -alpha) if step % REPLACE else add(b, apply(x), -1)
        if trace(r) or step == iterations:
            break
        z = r if precondition is None else precondition(r)
        new = _positive(dot(r, z), trace, precondition is not None)
        p, rz = add(z, p, new / rz), new
    return trace.solved(x)


def lbfgs(
    apply: Apply,
    b: Parameters,
    *,
    tolerance: float = 1e-2,
    iterations: int = 100,
    x0: Parameters | None = None,
    memory: int = 10,
    progress: Progress | None = None,
) -> Solved:
    """Limited-memory BFGS with `memory` pairs of vectors and the exact step along every direction: one product a step.

    With exact steps it makes the iterates of conjugate gradients, up to rounding (Nazareth 1979), at 2 `memory` more vectors.
    """
    trace = _Trace(b, tolerance, progress)
    x, r = _start(apply, b, x0)  # r is minus the gradient of the quadratic
    pairs: list[tuple[Parameters, Parameters, float]] = []
    if trace(r):
        return trace.solved(x)
    for step in range(1, iterations + 1):
        d = _two_loops(pairs, r)
        ad = apply(d)
        curvature = dot(d, ad)
        if not curvature > 0:
            raise _fault(curvature, dot(d, d), step)
        alpha = dot(r, d) / curvature
        x = add(x, d, alpha)
        r = add(r, ad, -alpha) if step % REPLACE else add(b, apply(x), -1)
        if trace(r):
            break
        pairs = [*pairs, (d, ad, curvature)][-memory:]  # any multiple of (s, y) = alpha (d, A d) does the same
    return trace.solved(x)


def _two_loops(pairs: list[tuple[Parameters, Parameters, float]], r: Parameters) -> Parameters:
    """H r for the inverse Hessian H of the pairs (s, y, <s, y>), oldest first (Nocedal & Wright 2006, alg. 7.4)."""
    coefficients = []
    for s, y, sy in reversed(pairs):
        coefficients.append(dot(s, r) / sy)
        r = add(r, y, -coefficients[-1])
    if pairs:
        _, y, sy = pairs[-1]
        r = scaled(r, sy / dot(y, y))
    for (s, y, sy), c in zip(pairs, reversed(coefficients), strict=True):
        r = add(r, s, c - dot(y, r) / sy)
    return r


def lissa(
    apply: Apply,
    b: Parameters,
    *,
    tolerance: float = 1e-2,
    iterations: int = 100,
    x0: Parameters | None = None,
    progress: Progress | None = None,
) -> Solved:
    """The Neumann series, scaled by a bound of the largest eigenvalue; slow where A is ill-conditioned. A residual that
    grows shows that the scale was too small: it is doubled and the step not taken."""
    trace = _Trace(b, tolerance, progress)
    x, r = _start(apply, b, x0)
    if trace(r):
        return trace.solved(x)
    scale = MARGIN * largest_eigenvalue(apply, b)
    for step in range(1, iterations + 1):
        ar = apply(r)
        curvature = dot(r, ar)
        if not curvature > 0:
            raise _fault(curvature, dot(r, r), step)
        left = add(r, ar, -1 / scale)
        while dot(left, left) > dot(r, r):
            scale *= 2
            left = add(r, ar, -1 / scale)
        x, r = add(x, r, 1 / scale), left
        if trace(r):
            break
    return trace.solved(x)


def largest_eigenvalue(apply: Apply, like: Parameters) -> float:
    """|A u| for a unit u after twelve power iterations from a random start (own generator): a bound from below."""
    generator = torch.Generator().manual_seed(SEED)
    u = {k: torch.randn(t.shape, generator=generator).to(t) for k, t in like.items()}
    size = math.sqrt(dot(u, u))
    for _ in range(POWER):
        u = apply(scaled(u, 1 / size))
        size = math.sqrt(dot(u, u))
        if not 0 < size < math.inf:
            raise RunError(
                f"power iteration for the largest eigenvalue met |A u| = {size}: is the curvature finite and not zero?"
            )
    return size


class _Trace:
    """The history of relative residuals."""

    def __init__(self, b: Parameters, tolerance: float, progress: Progress | None):
        self.norm, self.tolerance, self.progress = math.sqrt(dot(b, b)), tolerance, progress
        self.residuals: list[float] = []

    def __call__(self, r: Parameters) -> bool:
        """Note the residual; whether it will do."""
        size = math.sqrt(dot(r, r))
        relative = size / self.norm if self.norm > 0 else size
        step = len(self.residuals)
        if not math.isfinite(relative):
            raise RunError(f"the solver met a residual of {relative} at iteration {step}: are loss and curvature finite?")
        self.residuals.append(relative)
        if self.progress is not None:
            self.progress(step, relative)
        return relative <= self.tolerance

    def solved(self, x: Parameters) -> Solved:
        return Solved(x, tuple(self.residuals), self.residuals[-1] <= self.tolerance)


def _start(apply: Apply, b: Parameters, x0: Parameters | None) -> tuple[Parameters, Parameters]:
    return (zeros(b), b) if x0 is None else (x0, add(b, apply(x0), -1))


def _positive(rz: float, trace: _Trace, preconditioned: bool) -> float:
    if preconditioned and not rz > 0:
        raise RunError(f"the preconditioner is not positive definite (<r, z> = {rz:.3g} at iteration {len(trace.residuals)})")
    return rz


def _fault(curvature: float, length: float, step: int) -> RunError:
    if not math.isfinite(curvature):
        return RunError(f"the solver met p^T A p = {curvature} at iteration {step}: are loss and curvature finite?")
    return IndefiniteError(
        f"the curvature is not positive definite: p^T A p = {curvature / length:.3g} for a unit direction p at iteration "
        f"{step}: raise damping or use ggn (which is indefinite by rounding alone)"
    )
