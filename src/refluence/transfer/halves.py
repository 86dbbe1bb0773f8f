"""The validation split cut in two by row: one half makes the weights of training instances, the other selects and watches.

A gain on the half that made the weights is nearly certain (KD-AIF's Theorem 1), so it is never the only one that is looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.data.dataset import Split
from refluence.data.splits import cut
from refluence.errors import InputError

SHARE = 0.5  # of each class, watching


def halves(split: Split) -> tuple[Tensor, Tensor]:
    """Positions `(n,)` inside a split of those that make weights, and of those that watch.

    Stratified, by a hash of the stored row: a row stays in its half whatever else is left out. Groups are kept whole. A class
    with one row makes weights.

    Raises:
        InputError: nothing would be left to watch.
    """
    groups = None if split.groups is None else split.groups.tolist()
    watching = torch.from_numpy(cut(split.labels.numpy(), split.rows.numpy(), SHARE, "watch", groups))
    if not bool(watching.any()):
        raise InputError(
            f"the validation split has {len(split)} instances and no class with two: one half makes the weights, the other "
            "watches, so at least one class needs two"
        )
    return (~watching).nonzero().flatten(), watching.nonzero().flatten()
