"""DM: distribution matching (Zhao and Bilen 2021, arXiv 2110.04181, eq. 4).

    min_S  E_theta  sum_c  | mean_j psi_theta(A_w(x_j)) - mean_i psi_theta(A_w(s_i)) |^2

psi is the embedding of a network at its random initialisation, a new one in every step and never trained, so the influence has
no implicit term: I_j = 2 <b - a, psi_j> from forward passes only. Siamese augmentation; images start from real ones; SGD with
learning rate 1 (10 from 100 images per class on, published only for CIFAR-10), momentum .5; 20,000 steps.
"""

from __future__ import annotations

from refluence.condense.dsa import strategy
from refluence.condense.method import Method, Settings
from refluence.condense.statistics import Embedding
from refluence.matching.discrepancies import Squared


def settings(ipc: int, size: str, shape: tuple[int, int, int] = (3, 32, 32)) -> Settings:
    """Published numbers (`paper`), or our short ones (`cpu`: 200 steps, real batches of 64)."""
    published = Settings(
        ipc=ipc,
        iterations=20_000,
        outer=1,
        inner=0,
        image_lr=10.0 if ipc >= 100 else 1.0,
        initial="real",
        augmentation=strategy(shape),
    )
    return published if size == "paper" else published.with_(iterations=200, real_batch=64)


METHOD = Method(
    name="dm",
    summary="distribution matching: class means of random networks' embeddings",
    source="arXiv 2110.04181",
    discrepancy=Squared(),
    settings=settings,
    statistic=Embedding(),
)
