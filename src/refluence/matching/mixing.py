"""CutMix (Yun et al. 2019, arXiv 1905.04899, eq. 1): a box of each image is replaced by that of another one.

    x_mixed = M x_i + (1 - M) x_pi(i),    loss = r l(x_mixed, y_i) + (1 - r) l(x_mixed, y_pi(i)),    r = share of pixels of x_i

One box and one permutation a batch; lambda ~ U(0, 1) (beta 1), the box has sides of sqrt(1 - lambda), its centre is uniform and
the border clips it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cutmix(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Mixed images `(B, C, H, W)`, the permutation `(B,)` and r. `generator` is on the CPU."""
    height, width = x.shape[-2:]
    share = float(torch.rand((), generator=generator))
    order = torch.randperm(len(x), generator=generator).to(x.device)
    sides = [int(side * (1 - share) ** 0.5) for side in (height, width)]
    centre = [int(torch.randint(side, (), generator=generator)) for side in (height, width)]
    (top, bottom), (left, right) = (
        (max(0, c - s // 2), min(side, c + s // 2)) for c, s, side in zip(centre, sides, (height, width), strict=True)
    )
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = x[order, :, top:bottom, left:right]
    return mixed, order, 1 - (bottom - top) * (right - left) / (height * width)
