"""IDM: improved distribution matching (Zhao et al. 2023, arXiv 2307.09742, eq. 2, 6 and 7).

    min_S  E_theta  sum_c  | mean_j psi_theta(A_w(x_j)) - mean_i psi_theta(A_w(f(s_i))) |^2
                           + lambda acc_theta CE(theta; A_w(f(S_c)))

theta is one of a pool of networks at many stages of training on D; f is multi-formation with factor 2 (their partitioning and
expansion); acc is the network's training accuracy. Numbers of the authors' code (uitrbn/IDM): 20,000 steps, one image step for
each class, learning rate .2, momentum .5, real batch 256 (5000 at IPC 1), DSA; four networks at first, a new one every 30 steps
(5 at IPC 1), at most 100; two networks x 10 SGD steps on D each time (.01, momentum .9, decay 5e-4, batch 256, no
augmentation); lambda .5 (.1 from 50 images per class on) with the accuracy in percent, so 50 and 10 with a share. The
accuracy is that of a network's last training, theirs a mean over 100 steps. The cross-entropy does not see D: nothing of it
enters the explicit influence.
"""

from __future__ import annotations

from refluence.condense.dsa import strategy
from refluence.condense.method import Method, Settings
from refluence.condense.pools import Pool
from refluence.condense.statistics import Embedding
from refluence.matching.discrepancies import Squared


def settings(ipc: int, size: str, shape: tuple[int, int, int] = (3, 32, 32)) -> Settings:
    """Published numbers (`paper`), or our short ones (`cpu`: 200 steps, real batches of 64, at most 10 networks)."""
    published = Settings(
        ipc=ipc,
        iterations=20_000,
        outer=1,
        inner=10,
        real_batch=5000 if ipc == 1 else 256,
        image_lr=0.2,
        net_momentum=0.9,
        net_weight_decay=5e-4,
        initial="real",
        augmentation=strategy(shape),
        net_augmentation="",
        factor=2,
        pool=100,
        pool_every=5 if ipc == 1 else 30,
        calibration=10.0 if ipc >= 50 else 50.0,
    )
    return published if size == "paper" else published.with_(iterations=200, inner=2, real_batch=64, net_batch=64, pool=10)


METHOD = Method(
    name="idm",
    summary="distribution matching through a pool of networks trained on the real set, with cross-entropy",
    source="arXiv 2307.09742",
    discrepancy=Squared(),
    settings=settings,
    statistic=Embedding(),
    networks=Pool,
    class_steps=True,
)
