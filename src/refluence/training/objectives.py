"""What a network is trained to give: losses of instances, from hard labels, soft labels or a teacher, and their mean.

    ce   -sum_c p_c log softmax(z)_c, p one-hot or the soft label
    kl   KL(softmax(t/T) || softmax(z/T)), t the teacher's logits or the logarithm of the soft label, and no factor T^2 (SRe2L,
         arXiv 2306.13092, and RDED, arXiv 2312.03526, their code). With only hard labels it is `ce`: ours, since a hard label
         has no temperature
    mse  |z - y|^2 / 2, y = (p - 1/C) / sqrt(C/10), with C classes: centred one-hot or soft labels at the scale that FRePo
         (arXiv 2206.00719, its code) gives to the labels it learns

For a teacher's logits t, softmax(t/T) = softmax(log p / T) with p = softmax(t): a stored soft label serves at every
temperature.

With weights w the mean over a batch of B instances is sum_i w_i l_i / B. It divides by B, not by the sum of w: a weight of 0
leaves an instance out of the sum and changes nothing for the others. Weights of mean 1 keep the size of a step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from refluence.errors import InputError

LOSSES = ("ce", "kl", "mse")
Targets = Tensor | tuple[Tensor, ...]
"""What a loss compares logits with: labels `(B,)`, soft labels `(B, C)`, or several of these."""
T = TypeVar("T", bound=Targets)
Loss = Callable[[Tensor, T], Tensor]
"""Logits `(B, C)` and targets to the loss of each instance `(B,)`."""
Reduction = Literal["none", "mean"]


class BatchLoss(ABC, Generic[T]):
    """A loss that PyTorch can also average itself: faster, and the last bit of the value may differ from a mean taken after."""

    @abstractmethod
    def __call__(self, logits: Tensor, y: T) -> Tensor:
        """The loss of each instance `(B,)`."""

    @abstractmethod
    def mean(self, logits: Tensor, y: T) -> Tensor:
        """Their mean, a scalar."""


@dataclass(frozen=True)
class Objective(BatchLoss[Tensor]):
    """One of `LOSSES` under labels `(B,)` int64 or `(B, C)` probabilities."""

    kind: str = "ce"
    temperature: float = 1.0

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        """See `BatchLoss`."""
        return loss(self.kind, logits, y, self.temperature, "none")

    def mean(self, logits: Tensor, y: Tensor) -> Tensor:
        """See `BatchLoss`."""
        return loss(self.kind, logits, y, self.temperature)


@dataclass(frozen=True)
class FromTeacher(BatchLoss[Tensor]):
    """The divergence from what a teacher gives for the same images: the targets are the images `(B, C, H, W)`."""

    teacher: Callable[[Tensor], Tensor]
    temperature: float = 1.0

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        """See `BatchLoss`."""
        return divergence(logits, self._logits(y), self.temperature, "none")

    def mean(self, logits: Tensor, y: Tensor) -> Tensor:
        """See `BatchLoss`."""
        return divergence(logits, self._logits(y), self.temperature)

    @torch.no_grad()
    def _logits(self, images: Tensor) -> Tensor:
        return self.teacher(images)


def mean_loss(function: Loss[T], logits: Tensor, y: T, weights: Tensor | None = None) -> Tensor:
    """The mean over a batch of the losses of its instances, each times its weight; without weights the plain mean.

    Args:
        function: gives the losses `(B,)`.
        logits: `(B, C)`.
        y: targets, as `function` takes them.
        weights: `(B,)`. The sum is divided by B all the same.

    Raises:
        InputError: losses or weights are not one number an instance.
    """
    if weights is None and isinstance(function, BatchLoss):
        return function.mean(logits, y)
    losses = function(logits, y)
    for name, part in (("a loss", losses), ("weights", weights)):
        if part is not None and part.shape != (len(logits),):
            raise InputError(f"{name} must be one number an instance, shape ({len(logits)},), got {tuple(part.shape)}")
    return losses.mean() if weights is None else (weights.to(losses) * losses).mean()


def loss(kind: str, logits: Tensor, labels: Tensor, temperature: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Loss of logits `(B, C)` under labels `(B,)` int64 or `(B, C)` probabilities: the mean, or each `(B,)`."""
    if kind == "mse":
        squares = (logits - centred(labels, logits.shape[1])).square().sum(1)
        return 0.5 * (squares.mean() if reduction == "mean" else squares)
    if kind == "kl" and labels.is_floating_point():
        return divergence(logits, labels.clamp_min(torch.finfo(labels.dtype).tiny).log(), temperature, reduction)
    return F.cross_entropy(logits, labels, reduction=reduction)


def divergence(logits: Tensor, teacher: Tensor, temperature: float, reduction: Reduction = "mean") -> Tensor:
    """KL from the teacher's logits `(B, C)` (or logarithms of soft labels) to `logits`, both at a temperature: mean or each."""
    target, ours = (F.log_softmax(z / temperature, 1) for z in (teacher, logits))
    if reduction == "mean":
        return F.kl_div(ours, target, reduction="batchmean", log_target=True)
    return F.kl_div(ours, target, reduction="none", log_target=True).sum(1)


def centred(labels: Tensor, classes: int) -> Tensor:
    """Regression targets `(B, C)` of hard or soft labels."""
    soft = labels if labels.is_floating_point() else F.one_hot(labels, classes).float()
    return (soft - 1 / classes) / math.sqrt(classes / 10)
