"""Influence-Select: the most influential real images of each class, trained on directly (IWD, arXiv 2510.27253, sec. 5.2).

    score_j = I_j = dM/dw_j  (eq. 8 and 24)        the largest are chosen

The source does not say at which synthetic set S and under which base method I is taken for this row of its ablation. Ours: DC,
S = as many random real images as will be chosen, the ones that `random` chooses at the same seed; the mean over three networks
at up to four times of DC's inner loop at size `cpu`, every instance scored at each of these points. The sign is +1, as in the
source's Algorithm 1; `easiest` takes the other end, what lowers DC's objective.

`on=validation` (ours): the images that lower the risk on validation data most, by the table of `refluence score` (dM/dw,
positive is harmful). Where validation data come from elsewhere, this is the default: they decide. Not with `easiest`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.condense import dc
from refluence.condense.method import Method, Settings
from refluence.condense.requirements import check_network
from refluence.condense.scoring import influence
from refluence.data.dataset import Dataset
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.select.random import METHOD as RANDOM
from refluence.select.ranking import highest
from refluence.select.selection import Selection

TIMES = 4  # of one network's training, at most: those of `scoring.points`
STEPS = 3 * TIMES  # points at which every instance is scored


def select(
    dataset: Dataset,
    counts: Sequence[int],
    spec: ModelSpec,
    rng: Rng,
    device: str | torch.device = "cpu",
    steps: int | None = None,
    easiest: bool = False,
    scores: Tensor | None = None,
) -> Tensor:
    """Positions in `dataset.train`; see `Selection`. `steps` is the number of points, 12 by default.

    `scores (N,)`: the influence on validation risk, for `on=validation`.
    """
    if scores is not None:
        return highest(-scores, dataset, counts, rng, "influence")
    start = RANDOM.select(dataset, counts, spec, rng)
    images, labels = dataset.pixels(dataset.train, start), dataset.train.labels[start]
    settings = dc.METHOD.settings(max(counts), "cpu", dataset.shape)
    found = influences(images, labels, dc.METHOD, settings, dataset, spec, rng, device, steps)
    return highest(-found if easiest else found, dataset, counts, rng, "influence")


def influences(
    images: Tensor,
    labels: Tensor,
    method: Method,
    settings: Settings,
    dataset: Dataset,
    spec: ModelSpec,
    rng: Rng,
    device: str | torch.device = "cpu",
    steps: int | None = None,
) -> Tensor:
    """Influence `(N,)` of every training instance on the objective of `method` at S = `images`; at `steps` points or fewer.

    Fewer than four points shorten the inner loop of a single network.
    """
    steps = STEPS if steps is None else steps
    settings = settings.with_(outer=min(settings.outer, steps)) if steps < TIMES else settings
    nets = max(1, steps // TIMES)
    return influence(images, labels, method, settings, dataset, spec, rng, nets=nets, whole=True, device=device)[1].raw


def check_model(spec: ModelSpec) -> None:
    """`InputError` for a network whose gradients DC cannot match."""
    check_network(spec, dc.METHOD, dc.METHOD.settings(1, "cpu", spec.shape))


METHOD = Selection(
    "influence",
    "real images of the highest influence on gradient matching",
    select,
    STEPS,
    ("factor", "steps", "easiest", "on"),
    check_model,
)
