"""Losses of a step of the mechanism `semi`, from logits `(B, C)`; every term is a mean over its batch.

p    softmax(T(weak u) / T_0), without a graph;  y_u = arg max p;  sure: max p >= threshold
H    -sum_c p_c log softmax(T(strong u))_c, where sure
own  w_u CE(T(strong u), y_u), where sure
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from refluence.influence.losses import softmax_hessian


@dataclass(frozen=True)
class Pseudo:
    """Pseudo-labels of instances: probabilities `(B, C)`, the class of each `(B,)`, and which of them count, `(B,)` bool."""

    soft: Tensor
    labels: Tensor
    sure: Tensor

    @property
    def counts(self) -> Tensor:
        """1 where one counts, else 0."""
        return self.sure.to(self.soft)


def pseudo(logits: Tensor, temperature: float, threshold: float) -> Pseudo:
    """Pseudo-labels from a teacher's logits on weak views."""
    soft = torch.softmax(logits.detach() / temperature, 1)
    surest, labels = soft.max(1)
    return Pseudo(soft, labels, surest >= threshold)


def teacher_objective(
    labelled: Tensor, y: Tensor, strong: Tensor, target: Pseudo, weights: Tensor, share: float, smoothing: float
) -> Tensor:
    """The teacher's loss, a scalar, from its logits on labelled instances and on strong views of the others.

    Args:
        labelled: `(B, C)`, with labels y `(B,)`.
        strong: `(U, C)`.
        target: pseudo-labels of the same U instances.
        weights: w_u `(U,)`.
        share: lambda_u r(t).
        smoothing: of the labels y.
    """
    supervised = F.cross_entropy(labelled, y, label_smoothing=smoothing)
    consistency = -(target.soft * strong.log_softmax(1)).sum(1) * target.counts
    own = F.cross_entropy(strong, target.labels, reduction="none") * target.counts * weights
    return supervised + share * consistency.mean() + own.mean()


@dataclass(frozen=True)
class Smoothed:
    """Cross-entropy under labels that are smoothed: the student's loss under pseudo-labels."""

    smoothing: float

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        """`(B,)` for logits `(B, C)` and labels `(B,)`."""
        return F.cross_entropy(logits, y, reduction="none", label_smoothing=self.smoothing)

    def hessian(self, logits: Tensor, y: Tensor, u: Tensor) -> Tensor:
        """S_j u_j `(B, C)`, that of cross-entropy: it does not depend on the label."""
        return softmax_hessian(logits, u)
