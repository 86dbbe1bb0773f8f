"""Random: real images of each class, drawn uniformly without replacement. The row that every method has to beat."""

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
    """Positions in `dataset.train`; see `Selection`. Each class has its own generator, `rng("select-random", class)`."""
    chosen = []
    for label, count in enumerate(counts):
        members = dataset.train.members(label)
        chosen.append(members[torch.randperm(len(members), generator=rng("select-random", label))[:count]])
    return torch.cat(chosen)


METHOD = Selection("random", "real images, drawn uniformly from each class", select)
