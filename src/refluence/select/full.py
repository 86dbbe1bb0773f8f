"""Everything: the upper bound that every small set is held against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.select.selection import Selection


def select(
    dataset: Dataset,
    counts: Sequence[int],
    spec: ModelSpec,
    rng: Rng,
    device: str | torch.device = "cpu",
    steps: int | None = None,
) -> Tensor:
    """Every position `(N,)` of the training split, in order, whatever `counts` says."""
    return torch.arange(len(dataset.train))


METHOD = Selection("full", "every real image: the upper bound", select, options=())
