"""Discrepancies D(a, b) between two statistics, and their derivatives in closed use by influence (IWD eq. 9).

A statistic is a dict from name to tensor (gradients by parameter name, a mean embedding under one name); `a` is synthetic,
`b` is real, both with the same names and shapes. In the table r runs over rows, b_hat = b/|b|, q = |a||b| + 1e-6.

    row cosine   sum_r 1 - <a_r, b_r>/q_r     grad_2 row: -a_r/q + <a_r, b_r> |a_r| b_hat_r / q^2     DC, DSA
                 4-D (O, I, k, k) and 2-D (O, I): O rows; 3-D: rows along the first dimension; 1-D: contributes zero
                 (Zhao et al. 2020, arXiv 2006.05929, and its code)
    flat cosine  the same with everything in one row, vectors too                                     DC's option, IGD
    squared      |a - b|^2                    grad_2: 2 (b - a)                                       IDC, DM, IDM
    L1           |a - b|_1                    grad_2: sign(b - a)                                     IDC on some sets

The kernel form is in kernel.py, the characteristic function in characteristic.py. Anything with `value` and `uses`, and any
differentiable function of (a, b), is a discrepancy; `second` is the closed form of grad_2, tested equal to autograd's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from refluence.errors import InputError

Values = Mapping[str, Tensor]
Distance = Callable[[Values, Values], Tensor]  # any differentiable function of two statistics, a scalar


class Discrepancy(Protocol):
    """What a method declares: a value, and which tensors count (those that do not need no gradient either)."""

    def uses(self, tensor: Tensor) -> bool:
        """Whether a tensor of this shape contributes."""

    def value(self, a: Values, b: Values) -> Tensor:
        """D(a, b), a scalar."""


@dataclass(frozen=True)
class RowCosine:
    """One minus cosine, row by row, summed. Invariant to the scale of either argument, up to `eps`."""

    eps: float = 1e-6
    name: str = "row cosine"

    def uses(self, tensor: Tensor) -> bool:
        """Whether a tensor of this shape contributes: those that do not need no gradient either."""
        return tensor.dim() >= 2

    def value(self, a: Values, b: Values) -> Tensor:
        """D(a, b), a scalar."""
        total: Tensor | float = 0.0
        for name, tensor in a.items():
            if self.uses(tensor):
                ra, rb = tensor.flatten(1), b[name].flatten(1)
                norms = ra.norm(dim=1) * rb.norm(dim=1)
                total = total + (1 - (ra * rb).sum(1) / (norms + self.eps)).sum()
        return torch.as_tensor(total)

    def second(self, a: Values, b: Values) -> dict[str, Tensor]:
        """grad_2 D in closed form."""
        out = {}
        for name, tensor in a.items():
            if self.uses(tensor):
                out[name] = _cosine_second(tensor.flatten(1), b[name].flatten(1), self.eps).view_as(tensor)
            else:
                out[name] = torch.zeros_like(tensor)
        return out


@dataclass(frozen=True)
class FlatCosine:
    """One minus the cosine of all tensors as one vector. Invariant to the scale of either argument, up to `eps`."""

    eps: float = 1e-6
    name: str = "flat cosine"

    def uses(self, tensor: Tensor) -> bool:
        """Every tensor contributes, vectors too."""
        return True

    def value(self, a: Values, b: Values) -> Tensor:
        """D(a, b), a scalar."""
        fa, fb = _flat(a, a), _flat(b, a)
        return 1 - fa @ fb / (fa.norm() * fb.norm() + self.eps)

    def second(self, a: Values, b: Values) -> dict[str, Tensor]:
        """grad_2 D in closed form."""
        flat = _cosine_second(_flat(a, a)[None], _flat(b, a)[None], self.eps)[0]
        parts = flat.split([tensor.numel() for tensor in a.values()])
        return {name: part.view_as(a[name]) for name, part in zip(a, parts, strict=True)}


@dataclass(frozen=True)
class Squared:
    """The squared distance. `least`: tensors of fewer dimensions contribute nothing (4: only convolutions, as in IDC)."""

    least: int = 0
    name: str = "squared"

    def uses(self, tensor: Tensor) -> bool:
        """Whether a tensor of this shape contributes."""
        return tensor.dim() >= self.least

    def value(self, a: Values, b: Values) -> Tensor:
        """D(a, b), a scalar."""
        return _sum([(t - b[name]).square().sum() for name, t in a.items() if self.uses(t)])

    def second(self, a: Values, b: Values) -> dict[str, Tensor]:
        """grad_2 D in closed form."""
        return {name: 2 * (b[name] - t) if self.uses(t) else torch.zeros_like(t) for name, t in a.items()}


@dataclass(frozen=True)
class L1:
    """The sum of absolute differences; `least` as for `Squared`. Where a and b are equal the derivative is taken as 0."""

    least: int = 0
    name: str = "l1"

    def uses(self, tensor: Tensor) -> bool:
        """Whether a tensor of this shape contributes."""
        return tensor.dim() >= self.least

    def value(self, a: Values, b: Values) -> Tensor:
        """D(a, b), a scalar."""
        return _sum([(t - b[name]).abs().sum() for name, t in a.items() if self.uses(t)])

    def second(self, a: Values, b: Values) -> dict[str, Tensor]:
        """grad_2 D in closed form."""
        return {name: (b[name] - t).sign() if self.uses(t) else torch.zeros_like(t) for name, t in a.items()}


BY_NAME: dict[str, Discrepancy] = {  # those that a setting can name
    "row-cosine": RowCosine(),
    "flat-cosine": FlatCosine(),
    "squared": Squared(),
    "squared-conv": Squared(least=4),
    "l1-conv": L1(least=4),
}


def first_derivative(discrepancy: Discrepancy | Distance, a: Values, b: Values) -> tuple[Tensor, dict[str, Tensor]]:
    """D(a, b) and its gradient with respect to `a` (IWD eq. 9), both detached. D may be any function of (a, b)."""
    value = _function(discrepancy)
    return _derivative(lambda leaf: value(leaf, b), a)


def second_derivative(discrepancy: Discrepancy | Distance, a: Values, b: Values) -> tuple[Tensor, dict[str, Tensor]]:
    """D(a, b) and its gradient with respect to `b`, both detached: the direction v of the explicit influence (IWD eq. 24).

    D may be any function of (a, b). A graph that leads from `a` to the synthetic images stays intact.
    """
    value = _function(discrepancy)
    return _derivative(lambda leaf: value(a, leaf), b)


def _function(discrepancy: Discrepancy | Distance) -> Distance:
    return discrepancy.value if hasattr(discrepancy, "value") else discrepancy


def _derivative(value: Callable[[Values], Tensor], at: Values) -> tuple[Tensor, dict[str, Tensor]]:
    leaf = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        total = value(leaf)
    if not isinstance(total, Tensor) or total.numel() != 1 or not total.requires_grad:
        got = f"a tensor {tuple(total.shape)}" if isinstance(total, Tensor) else f"a {type(total).__name__}"
        raise InputError(
            f"the discrepancy gave {got}: its value(a, b) must be one number, a tensor that autograd follows to a, b"
        )
    gradients = torch.autograd.grad(total, list(leaf.values()), materialize_grads=True)
    return total.detach(), dict(zip(leaf, gradients, strict=True))


def _cosine_second(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """Rows `(R, P)` of -a/q + <a,b> |a| b_hat / q^2; a row of zeros in b has b_hat = 0, as autograd has it."""
    na, nb = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    q, dot = na * nb + eps, (a * b).sum(1, keepdim=True)
    unit = torch.where(nb > 0, b / nb, 0.0)
    return -a / q + dot * na * unit / q.square()


def _flat(statistic: Values, order: Values) -> Tensor:
    return torch.cat([statistic[name].flatten() for name in order])


def _sum(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum() if parts else torch.zeros(())
