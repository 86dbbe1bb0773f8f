"""The statistic of distribution matching: the mean embedding of a class, and any other mean of per-instance rows.

    Phi(D, w; theta) = (1/n) sum_j omega_j phi_j(theta),    omega of mean 1
    phi_j = psi_j, the flattened features before the classifier                    DM, IDM (arXiv 2110.04181, 2307.09742)
    phi_j = exp(i <t, f_j>) at frequencies t                                       NCFM, characteristic.py

Phi is linear in omega, so the influence of j on D(a, Phi), by its weight omega_j / n on the simplex of the bag, is

    I_j = <grad_2 D(a, b), phi_j>                                                  (IWD eq. 24; forward passes only)

**Lemma A.** Were the weights renormalised after the nudge, w -> (w + eps e_j) / (1 + eps), every I_j of the bag would move
by the same constant -<grad_2 D, b>: softmax does not see it, and for a cosine it is zero. (For any differentiable M(w), linear
or not, with or without an implicit term, the constant is -<grad M(w), w>.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.matching.discrepancies import Values


def embedding(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Rows psi_j `(B, F)` under the name "features": what `net.features(x)` gives, flattened."""
    features = getattr(net, "features", None)
    if features is None:
        raise InputError(f"{type(net).__name__} has no features(x): pass a function of (net, x) that gives rows (B, F)")
    return {"features": features(x).flatten(1)}


def mean_statistic(rows: Values, omega: Tensor | None = None) -> dict[str, Tensor]:
    """(1/n) sum_j omega_j phi_j for rows `(n, ...)` by name; `omega (n,)` of mean 1, None for ones. Keeps the graph."""
    if omega is None:
        return {name: t.mean(0) for name, t in rows.items()}
    for name, t in rows.items():
        if omega.shape != t.shape[:1]:
            raise InputError(f"omega must have the shape {tuple(t.shape[:1])}, as '{name}' has rows, got {tuple(omega.shape)}")
    return {name: torch.tensordot(omega.to(t), t, 1) / len(t) for name, t in rows.items()}


def row_scores(v: Values, rows: Values) -> Tensor:
    """<v, phi_j> `(n,)` for rows phi_j `(n, ...)` and v of one row's shape, summed over the names."""
    missing = sorted(set(v) ^ set(rows))
    if missing:
        raise InputError(f"v and the rows must have the same names: {', '.join(missing)} is in one of them alone")
    return torch.stack([t.flatten(1) @ v[name].flatten() for name, t in rows.items()]).sum(0)
