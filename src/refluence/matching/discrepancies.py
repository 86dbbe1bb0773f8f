"""Discrepancies D(a, b) between two statistics, and their derivatives in closed use by influence (IWD eq. 9).

A statistic is a dict from parameter name to tensor; `a` is synthetic, `b` is real, both with the same names and shapes.

    row cosine (DC, Zhao et al. 2020, arXiv 2006.05929, and its code):
        D(a, b) = sum over tensors, sum over rows r of  1 - <a_r, b_r> / (|a_r| |b_r| + 1e-6)
        4-D (O, I, k, k): O rows; 2-D (O, I): O rows; 3-D: rows along the first dimension; 1-D: contributes zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Statistic = Mapping[str, Tensor]
Distance = Callable[[Statistic, Statistic], Tensor]  # any differentiable function of two statistics, a scalar


@dataclass(frozen=True)
class RowCosine:
    """One minus cosine, row by row, summed. Invariant to the scale of either argument, up to `eps`."""

    eps: float = 1e-6
    name: str = "row cosine"

    def uses(self, tensor: Tensor) -> bool:
        """Whether a tensor of this shape contributes: those that do not need no gradient either."""
        return tensor.dim() >= 2

    def value(self, a: Statistic, b: Statistic) -> Tensor:
        """D(a, b), a scalar."""
        total: Tensor | float = 0.0
        for name, tensor in a.items():
            if self.uses(tensor):
                ra, rb = tensor.flatten(1), b[name].flatten(1)
                norms = ra.norm(dim=1) * rb.norm(dim=1)
                total = total + (1 - (ra * rb).sum(1) / (norms + self.eps)).sum()
        return torch.as_tensor(total)


def first_derivative(discrepancy: RowCosine | Distance, a: Statistic, b: Statistic) -> tuple[Tensor, dict[str, Tensor]]:
    """D(a, b) and its gradient with respect to `a` (IWD eq. 9), both detached. D may be any function of (a, b)."""
    value = _function(discrepancy)
    return _derivative(lambda leaf: value(leaf, b), a)


def second_derivative(discrepancy: RowCosine | Distance, a: Statistic, b: Statistic) -> tuple[Tensor, dict[str, Tensor]]:
    """D(a, b) and its gradient with respect to `b`, both detached: the direction v of the explicit influence (IWD eq. 24).

    D may be any function of (a, b). A graph that leads from `a` to the synthetic images stays intact.
    """
    value = _function(discrepancy)
    return _derivative(lambda leaf: value(a, leaf), b)


def _function(discrepancy: RowCosine | Distance) -> Distance:
    return discrepancy.value if isinstance(discrepancy, RowCosine) else discrepancy


def _derivative(value, at: Statistic) -> tuple[Tensor, dict[str, Tensor]]:
    leaf = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        total = value(leaf)
    gradients = torch.autograd.grad(total, list(leaf.values()), materialize_grads=True)
    return total.detach(), dict(zip(leaf, gradients, strict=True))
