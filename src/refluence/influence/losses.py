"""Losses of one sample and their Hessians by the logits, S_j = d^2 l_j / dz_j^2, for the Gauss-Newton matrix:

    cross-entropy      l = -<y, log softmax(z)>                                   S = diag(p) - p p^T,  p = softmax(z)
    squared error      l = |z - y|^2 / 2                                          S = I
    distillation       l = (1-a) T^2 KL(q || softmax(z/T)) + a CE(z, y)           S = (1-a) S(softmax(z/T)) + a S(softmax(z))

with q = softmax(teacher/T): the T^2 of Hinton et al. 2015 (arXiv 1503.02531, sec. 2) cancels the 1/T^2 of the curvature.
None of the S depends on the target, and all are positive semi-definite (Martens 2020, arXiv 1412.1193, sec. 8).

Any callable `loss(logits, y) -> (B,)` serves for gradients and scores; the Gauss-Newton matrix wants `hessian` as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, overload, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from refluence.errors import InputError
from refluence.matching.statistics import Targets

Loss = Callable[[Tensor, Any], Tensor]
"""`loss(outputs, y) -> (B,)`, of targets y in the form that this loss takes."""


@runtime_checkable
class Curved(Protocol):
    """A loss whose Hessian by the outputs is known in closed form."""

    def __call__(self, logits: Tensor, y: Any, /) -> Tensor:
        """`(B,)`."""

    def hessian(self, logits: Tensor, y: Any, u: Tensor, /) -> Tensor:
        """S_j u_j of the shape of u, which is that of the outputs."""


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy with hard or soft labels, the default everywhere."""

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        """`(B,)` for logits `(B, K)` and labels `(B,)` or soft labels `(B, K)` that sum to 1."""
        return F.cross_entropy(logits, y, reduction="none")

    def hessian(self, logits: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """S_j u_j `(B, K)` for u `(B, K)`: p * u - p <p, u>."""
        return softmax_hessian(logits, u)


@dataclass(frozen=True)
class SquaredError:
    """Half the squared distance of outputs to targets."""

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        """`(B,)` for outputs `(B, ...)` and targets of the same shape."""
        if logits.shape != y.shape:
            raise InputError(f"squared error needs targets of the outputs' shape {tuple(logits.shape)}, got {tuple(y.shape)}")
        return 0.5 * (logits - y).square().flatten(1).sum(1)

    def hessian(self, logits: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """S_j u_j = u_j."""
        return u


@dataclass(frozen=True)
class ExpectedError:
    """1 - p_y: how likely a class drawn from softmax(z) is wrong, in [0, 1]. A validation risk; the curvature is not closed.

    Half the mean absolute error of Ghosh et al. 2017 (arXiv 1712.09482): under symmetric label noise its expectation is
    that of the clean labels times a constant, plus a constant.
    """

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        """`(B,)` for logits `(B, K)` and labels `(B,)`."""
        return 1 - torch.softmax(logits, 1).gather(1, y[:, None])[:, 0]


@dataclass(frozen=True)
class DistillationLoss:
    """(1 - alpha) T^2 KL(teacher || student) at temperature T > 0, plus alpha in [0, 1] times cross-entropy.

    Hinton et al. 2015 (arXiv 1503.02531), sec. 2. The teacher's logits are data: constants, computed once.
    """

    temperature: float
    alpha: float

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"temperature must be > 0, got {self.temperature!r}")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha, the share of the labels, must be in [0, 1], got {self.alpha!r}")

    def __call__(self, logits: Tensor, y: tuple[Tensor, Tensor]) -> Tensor:
        """`(B,)` for student logits `(B, K)` and y = (labels `(B,)` or `(B, K)`, teacher logits `(B, K)`).

        alpha = 0 never looks at the labels.
        """
        labels, teacher = self._parts(y)
        if teacher.shape != logits.shape:
            raise InputError(f"teacher logits must have the student's shape {tuple(logits.shape)}, got {tuple(teacher.shape)}")
        log_q = F.log_softmax(teacher.detach() / self.temperature, 1)
        log_p = F.log_softmax(logits / self.temperature, 1)
        soft = self.temperature**2 * (log_q.exp() * (log_q - log_p)).sum(1)
        return soft if self.alpha == 0 else (1 - self.alpha) * soft + self.alpha * cross_entropy(logits, labels)

    def hessian(self, logits: Tensor, y: tuple[Tensor, Tensor], u: Tensor) -> Tensor:
        """S_j u_j `(B, K)` for u `(B, K)`."""
        soft, hard = softmax_hessian(logits / self.temperature, u), softmax_hessian(logits, u)
        return (1 - self.alpha) * soft + self.alpha * hard

    @staticmethod
    def _parts(y: Targets) -> tuple[Tensor, Tensor]:
        if not isinstance(y, (tuple, list)) or len(y) != 2:
            raise InputError(f"distillation needs y = (labels, teacher logits), got {type(y).__name__}")
        return y[0], y[1]


cross_entropy = CrossEntropy()
expected_error = ExpectedError()


@overload
def take(y: Tensor, index: slice | Tensor | None) -> Tensor: ...
@overload
def take(y: Targets, index: slice | Tensor | None) -> Targets: ...
def take(y: Targets, index: slice | Tensor | None) -> Targets:
    """The samples `index` of a tensor, or of every tensor of a tuple; with None one sample becomes a batch."""
    return tuple(part[index] for part in y) if isinstance(y, (tuple, list)) else y[index]


def softmax_hessian(logits: Tensor, u: Tensor) -> Tensor:
    """S_j u_j `(B, K)` with S = diag(p) - p p^T, p = softmax(z): that of every loss whose logarithm is of softmax(z).

    S (u + c) = S u for any number c: with the u of the likeliest class taken off, no digits cancel where its p is nearly 1.
    """
    p = torch.softmax(logits, 1)
    u = u - u.gather(1, logits.argmax(1, keepdim=True))
    return p * (u - (p * u).sum(1, keepdim=True))
