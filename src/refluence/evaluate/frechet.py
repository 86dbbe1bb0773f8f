"""How far two sets of features are apart as Gaussians: the Fréchet distance (Heusel et al., arXiv 1706.08500; FID).

    d = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))          m, S: mean and covariance (over n - 1) of each set

With S_i = R_i^T R_i, tr (S_1 S_2)^(1/2) is the sum of the singular values of R_1 R_2^T: exact where a set has fewer rows than
features, and its covariance no inverse. The distance is the squared one, as FID is reported. It falls as a set grows, so only
sets of as many images compare.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refluence.errors import InputError


def frechet(first: Tensor, second: Tensor) -> float:
    """The Fréchet distance of the Gaussians of features `(n, F)` and `(m, F)`.

    Raises:
        InputError: fewer than two rows, or other numbers of features.

    Example:
        >>> import torch
        >>> a = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
        >>> round(frechet(a, a), 6), round(frechet(a, a + 3), 6)
        (0.0, 18.0)
    """
    if min(len(first), len(second)) < 2 or first.shape[1:] != second.shape[1:]:
        raise InputError(
            f"a Fréchet distance takes two sets of at least two rows of as many features, got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    (mean, root), (other, other_root) = _gaussian(first), _gaussian(second)
    traces = root.square().sum() + other_root.square().sum()
    cross = torch.linalg.svdvals(root @ other_root.T).sum()
    return max(0.0, float((mean - other).square().sum() + traces - 2 * cross))


def _gaussian(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The mean `(F,)` and an R `(r, F)` with R^T R the covariance."""
    rows = rows.double()
    mean = rows.mean(0)
    return mean, torch.linalg.qr((rows - mean) / math.sqrt(len(rows) - 1), mode="r").R
