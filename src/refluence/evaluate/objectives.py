"""What a network is trained to give: the loss of a batch, from hard labels, soft labels or a teacher.

    ce   -sum_c p_c log softmax(z)_c, p one-hot or the soft label
    kl   KL(softmax(t/T) || softmax(z/T)), t the teacher's logits or the logarithm of the soft label, and no factor T^2 (SRe2L,
         arXiv 2306.13092, and RDED, arXiv 2312.03526, their code). Of hard labels alone it is `ce`: ours, since a hard label
         has no temperature
    mse  |z - y|^2 / 2, y = (p - 1/C) / sqrt(C/10), with C classes: centred one-hot or soft labels at the scale that FRePo
         (arXiv 2206.00719, its code) gives to the labels it learns

Means over the batch. For a teacher's logits t, softmax(t/T) = softmax(log p / T) with p = softmax(t): a stored soft label
serves at every temperature.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LOSSES = ("ce", "kl", "mse")


def loss(kind: str, logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean loss of logits `(B, C)` under labels `(B,)` int64 or `(B, C)` probabilities."""
    if kind == "mse":
        return 0.5 * (logits - centred(labels, logits.shape[1])).square().sum(1).mean()
    if kind == "kl" and labels.is_floating_point():
        return divergence(logits, labels.clamp_min(torch.finfo(labels.dtype).tiny).log(), temperature)
    return F.cross_entropy(logits, labels)


def divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean KL from the teacher's logits `(B, C)` (or logarithms of soft labels) to `logits`, both at a temperature."""
    target, ours = (F.log_softmax(z / temperature, 1) for z in (teacher, logits))
    return F.kl_div(ours, target, reduction="batchmean", log_target=True)


def centred(labels: Tensor, classes: int) -> Tensor:
    """Regression targets `(B, C)` of hard or soft labels."""
    soft = labels if labels.is_floating_point() else F.one_hot(labels, classes).float()
    return (soft - 1 / classes) / math.sqrt(classes / 10)
