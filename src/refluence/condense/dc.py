"""DC: dataset condensation with gradient matching (Zhao, Mopuri, Bilen 2020, arXiv 2006.05929).

    min_S  E_theta0  sum_t  sum_c  D( grad_theta L_c^S(theta_t), grad_theta L_c^D(theta_t) )              (IWD eq. 2)
    theta_{t+1} = `inner` epochs of SGD on S from theta_t                                                 (S_inner = S)

D is the row-wise cosine distance. Images start as Gaussian noise; SGD, learning rate .1, momentum .5, one step for all
classes together. Networks: SGD .01 without momentum, batch 256. K = 1000 initialisations at the published size.
"""

from __future__ import annotations

from refluence.condense.method import Method, Settings
from refluence.matching.discrepancies import RowCosine

# (outer, inner) by images per class, as the reference code has them
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


def loops(ipc: int) -> tuple[int, int]:
    """(outer, inner) for any number of images per class; between table entries the largest not above.

    2 to 9 are ours: as many outer steps as images, 50 epochs each.
    """
    if 2 <= ipc <= 9:
        return ipc, 50
    return LOOPS[max((entry for entry in LOOPS if entry <= ipc), default=1)]


def settings(ipc: int, size: str, shape: tuple[int, int, int] = (3, 32, 32)) -> Settings:
    """Published numbers (`paper`), or our short ones (`cpu`).

    `cpu`: 200 image steps, real batches of 64, a fifth of the inner epochs, and real images to start from: noise, the
    published start, needs thousands of steps.
    """
    outer, inner = loops(ipc)
    published = Settings(ipc=ipc, iterations=1000 * outer, outer=outer, inner=inner)
    if size == "paper":
        return published
    return published.with_(iterations=200, inner=max(1, inner // 5), real_batch=64, initial="real")


METHOD = Method(
    name="dc",
    summary="gradient matching, row-wise cosine, networks trained on the synthetic set",
    source="arXiv 2006.05929",
    discrepancy=RowCosine(),
    settings=settings,
)
