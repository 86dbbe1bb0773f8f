"""Matching whole distributions by a kernel: the squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13, eq. 2-5).

    D = MMD^2 = sum_st u_s u_t k(s, t) - 2 sum_si u_s w_i k(s, x_i) + sum_ij w_i w_j k(x_i, x_j)        u, w of sum 1
    dD/dw_j   = 2 [ sum_i w_i k(x_i, x_j) - sum_s u_s k(s, x_j) ]                                       the witness at x_j

The statistic is the weighted sample itself, {"rows": (n, F), "weights": (n,)}, so that D has a derivative by every row (for
the network's parameters) and by every weight (the explicit influence). All pairs count, i = j too (the biased estimate):
it is the one whose derivative the witness is. The linear kernel gives the squared distance of the means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from refluence.errors import InputError
from refluence.matching.discrepancies import Values

Kernel = Callable[[Tensor, Tensor], Tensor]  # (m, F), (n, F) -> (m, n)


def linear(x: Tensor, y: Tensor) -> Tensor:
    """<x_i, y_j> `(m, n)`."""
    return x @ y.mT


@dataclass(frozen=True)
class RBF:
    """exp(-|x_i - y_j|^2 / (2 bandwidth^2)) `(m, n)`; the bandwidth is in the units of the features."""

    bandwidth: float

    def __post_init__(self) -> None:
        if not self.bandwidth > 0:
            raise InputError(f"the bandwidth of a kernel must be above 0, got {self.bandwidth!r}")

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The kernel of every pair."""
        squared = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.mT
        return (-squared / (2 * self.bandwidth**2)).exp()


def median_bandwidth(x: Tensor, y: Tensor) -> float:
    """The median distance of rows of x `(m, F)` to rows of y `(n, F)`: the usual first choice, a constant."""
    return float(torch.cdist(x.detach(), y.detach()).median())


def sample(rows: Tensor, omega: Tensor | None = None) -> dict[str, Tensor]:
    """The statistic of rows `(n, F)` with `omega (n,)` of mean 1 (None: ones): weights are omega/n."""
    if omega is None:
        omega = rows.new_ones(len(rows))
    if rows.dim() != 2 or omega.shape != (len(rows),):
        raise InputError(f"a sample is rows (n, F) and omega (n,), got {tuple(rows.shape)} and {tuple(omega.shape)}")
    return {"rows": rows, "weights": omega.to(rows) / len(rows)}


@dataclass(frozen=True)
class MMD:
    """The squared maximum mean discrepancy of two weighted samples of any sizes, under `kernel`."""

    kernel: Kernel
    name: str = "mmd"

    def uses(self, tensor: Tensor) -> bool:
        """Rows and weights both contribute."""
        return True

    def value(self, a: Values, b: Values) -> Tensor:
        """D(a, b), a scalar."""
        within = sum(s["weights"] @ self.kernel(s["rows"], s["rows"]) @ s["weights"] for s in (a, b))
        return within - 2 * a["weights"] @ self.kernel(a["rows"], b["rows"]) @ b["weights"]

    def witness(self, a: Values, b: Values, at: Tensor) -> Tensor:
        """dD by the weight of a real instance with row `at[j]`, in b or not: `(len(at),)` for `at (., F)`."""
        return 2 * (b["weights"] @ self.kernel(b["rows"], at) - a["weights"] @ self.kernel(a["rows"], at))
