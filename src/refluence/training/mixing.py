"""Two images of a batch in one, and the loss in the same shares, with a probability for each batch.

CutMix  `matching.mixing.cutmix`: one box for the batch, share = 1 - area of the box / area of the image
MixUp   lambda x_i + (1 - lambda) x_pi(i), share = lambda ~ Beta(a, a)       (Zhang et al. 2017, arXiv 1710.09412, eq. 1)

loss = share * loss(y_i) + (1 - share) * loss(y_pi(i)),  pi a permutation of the batch
"""

from __future__ import annotations

import torch
from scipy.special import betaincinv
from torch import Tensor

from refluence.matching.mixing import cutmix


def mix(
    kind: str, probability: float, alpha: float, x: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor | None, float]:
    """Mixed images `(B, C, H, W)`, pi `(B,)` and the share of the own image; pi None and share 1 for a batch left as it is.

    `kind` is `cutmix`, `mixup` or `none`, which draws nothing; `alpha` is of MixUp. `generator` is on the CPU.
    """
    if kind == "none" or float(torch.rand((), generator=generator)) >= probability:
        return x, None, 1.0
    if kind == "cutmix":
        return cutmix(x, generator)
    uniform = float(torch.rand((), generator=generator, dtype=torch.float64))
    share = float(betaincinv(alpha, alpha, uniform))  # the quantile function: Beta(alpha, alpha) from a uniform draw
    partner = torch.randperm(len(x), generator=generator).to(x.device)
    return share * x + (1 - share) * x[partner], partner, share
