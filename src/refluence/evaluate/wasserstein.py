"""How far the images of a small set have to be moved to become real ones: the Wasserstein distance (IGD, ICLR 2025, Fig. 3).

    W = min_P sum_ij P_ij |phi(s_i) - phi(x_j)|,     P >= 0, sum_j P_ij = 1/m, sum_i P_ij = 1/n

Exact, by the network simplex of POT (pythonot.github.io). The source does not say of which order; this is the first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.errors import InputError

MOST = 10_000_000  # pivots of the simplex


def require() -> None:
    """`InputError` where POT is not installed."""
    try:
        import ot  # noqa: F401
    except ImportError:
        raise InputError(
            "the Wasserstein distance needs POT, which is not installed: pip install refluence[generate]"
        ) from None


def wasserstein(first: Tensor, second: Tensor) -> float:
    """The Wasserstein distance of features `(n, F)` and `(m, F)`, every row of a set of equal mass.

    Raises:
        InputError: POT is not installed.

    Example:
        >>> import torch
        >>> a = torch.tensor([[0.0], [1.0]])
        >>> wasserstein(a, a + 3), wasserstein(a, a.flip(0))
        (3.0, 0.0)
    """
    require()
    import ot

    apart = torch.cdist(first.double(), second.double(), compute_mode="donot_use_mm_for_euclid_dist").cpu().numpy()
    return float(ot.emd2([], [], apart, numItermax=MOST))
