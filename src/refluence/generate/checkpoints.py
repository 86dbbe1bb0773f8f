"""Which checkpoints of a training stand for all of it (IGD, Algorithm 2), from their class-mean gradients:

    R = [theta_0];  for e = 1 … E:  append theta_e where  sim(theta_e, last of R) < delta

    mean-gradient  sim = cos(mean_c g_c(theta_e), mean_c g_c(theta_r))            the paper
    per-class      sim = mean_c cos(g_c(theta_e), g_c(theta_r))                   its released code

with g_c(theta) the gradient of the mean loss of class c. Regular ones, with which the paper's Table 6 compares, are evenly
spaced from theta_0 to theta_E.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Similarity = Callable[[Tensor, Tensor], float]
"""Of two checkpoints, from their class-mean gradients `(C, P)`."""


def of_mean_gradients(a: Tensor, b: Tensor) -> float:
    """The cosine of the means over classes of a and b `(C, P)`."""
    return float(F.cosine_similarity(a.mean(0), b.mean(0), dim=0))


def of_classes(a: Tensor, b: Tensor) -> float:
    """The mean over classes of the cosines of a and b `(C, P)`."""
    return float(F.cosine_similarity(a, b, dim=1).mean())


SIMILARITIES: dict[str, Similarity] = {"mean-gradient": of_mean_gradients, "per-class": of_classes}


def look(gradients: Tensor, last: Tensor | None, threshold: float, similarity: Similarity) -> tuple[float | None, bool]:
    """One turn of the loop of Algorithm 2, at one checkpoint.

    Args:
        gradients: its class-mean gradients `(C, P)`.
        last: those of the checkpoint that was kept last; None at theta_0.
        threshold: delta.
        similarity: one of `SIMILARITIES`.

    Returns:
        Its similarity with the last kept one (None: there is none), and whether it is kept.

    Example:
        >>> import torch
        >>> look(torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 4.0]]), 0.7, of_mean_gradients)
        (0.800000011920929, False)
    """
    if last is None:
        return None, True
    found = similarity(gradients, last)
    return found, found < threshold


def regular(epochs: int, count: int) -> list[int]:
    """`count` of the checkpoints 0 … `epochs`, evenly spaced, the first among them and with two or more the last.

    Example:
        >>> regular(50, 4)
        [0, 17, 33, 50]
    """
    return torch.linspace(0, epochs, count, dtype=torch.float64).round().long().tolist()
