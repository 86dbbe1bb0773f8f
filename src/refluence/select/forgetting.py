"""Forgetting: the images that a network forgets most often while it learns (Toneva et al. 2018, arXiv 1812.05159, sec. 3).

At every presentation in a mini-batch it is noted whether the network, before that step, classifies the image rightly:

    forgetting event   right at one presentation, wrong at the next one of the same image
    score              number of events over the training; infinite for an image that was never right

The most forgotten are chosen: the classic rule, under which the never forgotten are left out first (`easiest`: those
instead). Training is ours: `pretrain.py`'s network and optimiser, in epochs over the shuffled set, 2000 steps of 128 images
(the source: 200 epochs; `steps=70000` is that for 45,000 images). Ties, which are many, are broken at random (ours).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.models import ModelSpec, build
from refluence.seeds import Rng
from refluence.select.pretrain import BATCH, train
from refluence.select.ranking import highest
from refluence.select.selection import Selection

STEPS = 2000


class Forgetting:
    """Counts events, presentation by presentation, of N instances."""

    def __init__(self, size: int):
        self.events = torch.zeros(size, dtype=torch.float64)
        self.before = torch.zeros(size, dtype=torch.bool)  # right at the last presentation
        self.learned = torch.zeros(size, dtype=torch.bool)  # right at any

    def see(self, batch: Tensor, right: Tensor) -> None:
        """One presentation of the instances `batch` `(B,)`, each at most once, `right` `(B,)` or not."""
        self.events[batch] += (self.before[batch] & ~right).double()
        self.before[batch] = right
        self.learned[batch] |= right

    def scores(self) -> Tensor:
        """Events `(N,)`; infinite where an instance was never right."""
        return self.events.masked_fill(~self.learned, torch.inf)


def select(
    dataset: Dataset,
    counts: Sequence[int],
    spec: ModelSpec,
    rng: Rng,
    device: str | torch.device = "cpu",
    steps: int | None = None,
    easiest: bool = False,
) -> Tensor:
    """Positions in `dataset.train`; see `Selection`.

    Randomness: `rng("forgetting-network", 0)` for the weights, `rng("forgetting-epoch", epoch)` for the order,
    `rng("forgetting-training", 0)` for what the network itself draws.
    """
    seen, labels = Forgetting(len(dataset.train)), dataset.train.labels
    net = build(spec, rng("forgetting-network", 0), device)
    batches = epochs(len(dataset.train), STEPS if steps is None else steps, rng)
    generator = rng("forgetting-training", 0)
    train(net, dataset, batches, generator, device, lambda b, logits: seen.see(b, logits.argmax(1).cpu() == labels[b]))
    scores = seen.scores()
    return highest(-scores if easiest else scores, dataset, counts, rng, "forgetting")


def epochs(size: int, steps: int, rng: Rng) -> Iterator[Tensor]:
    """`steps` batches of positions: shuffled epochs, each position once an epoch."""
    done, epoch = 0, 0
    while True:
        for batch in torch.randperm(size, generator=rng("forgetting-epoch", epoch)).split(BATCH):
            if done == steps:
                return
            yield batch
            done += 1
        epoch += 1


METHOD = Selection("forgetting", "real images that a network forgets most often", select, STEPS, ("factor", "steps", "easiest"))
