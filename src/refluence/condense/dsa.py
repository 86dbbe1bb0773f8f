"""DSA: DC with differentiable Siamese augmentation (Zhao and Bilen 2021, arXiv 2102.08259, eq. 3).

    min_S  E_theta0  sum_t  sum_c  D( grad_theta L(A_w(S_c); theta_t), grad_theta L(A_w(D_c); theta_t) )

One operation A and one set of parameters w for the whole of a class on both sides, a new draw for each class and step. In
training on S every image has parameters of its own. Everything else is DC's, but images start from real ones (the published
command). Grey images are not flipped.
"""

from __future__ import annotations

from dataclasses import replace

from refluence.condense import dc
from refluence.condense.method import Settings
from refluence.matching.augment import DSA


def strategy(shape: tuple[int, int, int]) -> str:
    """The Siamese operations for images `(C, H, W)`."""
    return DSA if shape[0] > 1 else DSA.replace("flip_", "")


def settings(ipc: int, size: str, shape: tuple[int, int, int] = (3, 32, 32)) -> Settings:
    """DC's numbers with augmentation and real images at the start."""
    return dc.settings(ipc, size, shape).with_(initial="real", augmentation=strategy(shape))


METHOD = replace(
    dc.METHOD,
    name="dsa",
    summary="dc with the same random augmentation on both sides",
    source="arXiv 2102.08259",
    settings=settings,
)
