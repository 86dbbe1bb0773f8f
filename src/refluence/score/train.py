"""The network of a fold, trained on the rows of the others."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.influence.losses import cross_entropy
from refluence.matching.augment import parse
from refluence.score.settings import CrossFit
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.schedules import triangle

WARM_UP = 0.2  # share of the steps in which the learning rate rises
EPOCHS_PER_FOLD = 1_000_003  # each (fold, epoch) has a random stream of its own


def train_epochs(
    net: nn.Module, dataset: Dataset, members: Tensor, settings: CrossFit, rng: Rng, fold: int, device: torch.device | str
) -> Iterator[int]:
    """Train `net` on `members` in place, in training mode; yields the number of each epoch at its end."""
    augmentation = parse("crop_flip" if dataset.shape[0] == 3 else "crop", "M")
    optimiser = torch.optim.SGD(
        net.parameters(), lr=settings.lr, momentum=0.9, weight_decay=settings.weight_decay, nesterov=True
    )
    batch = min(settings.batch, len(members))
    per_epoch = len(members) // batch  # a last, smaller batch is left out: another one each epoch
    total = settings.epochs * per_epoch

    def batches(generator: torch.Generator) -> Iterator[Batch[Tensor]]:
        order = members[torch.randperm(len(members), generator=generator)]
        for rows in order[: per_epoch * batch].split(batch):
            x = dataset.pixels(dataset.train, rows, device)
            x = augmentation.apply(augmentation.draw(generator, (x.shape[2], x.shape[3]), len(x)), x)
            yield Batch(x, dataset.train.labels[rows].to(device), rows=rows)

    net.train()
    for epoch in range(settings.epochs):

        def rate(step: int, before: int = epoch * per_epoch) -> float:
            return settings.lr * triangle(before + step + 1, total, WARM_UP)

        generator = rng("training", fold * EPOCHS_PER_FOLD + epoch)
        fit(net, optimiser, batches(generator), cross_entropy, schedule=rate, generator=generator, device=device)
        if not all(bool(p.isfinite().all()) for p in net.parameters()):
            raise RunError(f"training of fold {fold} diverged in epoch {epoch + 1}: a smaller lr would help")
        yield epoch
