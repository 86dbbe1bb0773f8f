"""Loss: the images of each class that trained networks find easiest (after arXiv 2411.12115).

    score = E_theta  ell(f_theta(x), y)        the smallest are chosen

The source ranks the training set by the loss of a trained classifier and keeps the easy end, to distil from it afterwards:
here that is `dc+pruned:by=loss`. Training directly on the very easiest images is the selection that belongs to it (ours), and
so are the networks: three of `pretrain.py` in the place of one fully trained classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.select.pretrain import STEPS
from refluence.select.ranking import highest
from refluence.select.selection import Selection
from refluence.select.young_networks import losses, mean_over_networks


def select(
    dataset: Dataset,
    counts: Sequence[int],
    spec: ModelSpec,
    rng: Rng,
    device: str | torch.device = "cpu",
    steps: int | None = None,
) -> Tensor:
    """Positions in `dataset.train`; see `Selection`."""
    return highest(-mean_over_networks(losses, dataset, spec, rng, device, steps), dataset, counts, rng, "loss")


METHOD = Selection("loss", "real images of the lowest loss", select, STEPS, ("factor", "steps"))
