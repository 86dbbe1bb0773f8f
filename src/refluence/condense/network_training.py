"""How theta moves between two image steps: SGD on S or on D (Algorithm 1, line 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from refluence.condense.settings import Settings
from refluence.data.dataset import Dataset
from refluence.matching import augment
from refluence.matching.mixing import cutmix
from refluence.training.loop import Batch, fit
from refluence.training.objectives import Objective
from refluence.training.optimisers import Descent

Fetch = Callable[[Tensor], tuple[Tensor, Tensor]]


def train_on_synthetic(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    generator: torch.Generator,
    augmentation: augment.Augmentation | None = None,
    lr: float | None = None,
) -> None:
    """`inner` epochs of SGD without momentum on S, in place, at the learning rate `lr` (default: `net_lr`)."""

    def batches() -> Iterator[Batch[Tensor]]:
        for _ in range(settings.inner):
            order = torch.randperm(len(images), generator=generator).to(images.device)
            for part in order.split(settings.net_batch):
                x = images[part]
                if augmentation is not None:
                    x = augmentation.apply(augmentation.draw(generator, (x.shape[2], x.shape[3]), len(x)), x)
                yield Batch(x, labels[part])

    net.train()
    optimiser = Descent(net, settings.net_lr if lr is None else lr)
    fit(net, optimiser, batches(), Objective())
    optimiser.zero_grad()


def sgd(net: nn.Module, settings: Settings) -> torch.optim.SGD:
    """The optimiser of a network that trains on D."""
    return torch.optim.SGD(
        net.parameters(), lr=settings.net_lr, momentum=settings.net_momentum, weight_decay=settings.net_weight_decay
    )


def real(dataset: Dataset, device: torch.device | str) -> tuple[int, Fetch]:
    """The training split as `train_on` takes it: its size and a function from positions to (x, y)."""
    return len(dataset.train), lambda p: (dataset.pixels(dataset.train, p, device), dataset.train.labels[p].to(device))


def train_on(
    net: nn.Module,
    optimiser: torch.optim.SGD,
    data: tuple[int, Fetch],
    settings: Settings,
    steps: int,
    generator: torch.Generator,
) -> float:
    """`steps` steps on random batches of `data`, in place; the share of the instances seen that were called right.

    Every image is augmented with parameters of its own. Batches are drawn without replacement until the data are used up.
    """
    right: Tensor | int = 0
    seen = 0

    def count(batch: Batch[Tensor], logits: Tensor, _: Tensor) -> None:
        nonlocal right, seen
        y = batch.y
        right += (logits.argmax(1) == (y if y.dim() == 1 else y.argmax(1))).sum()
        seen += len(y)

    net.train()
    fit(net, optimiser, random_batches(data, settings, steps, generator), Objective(), seen=count)
    return float(right) / seen if seen else 0.0


def random_batches(
    data: tuple[int, Fetch], settings: Settings, steps: int, generator: torch.Generator
) -> Iterator[Batch[Tensor]]:
    """`steps` batches without replacement until the data are used up; augmented, and some of them mixed by CutMix."""
    augmentation = augment.parse(settings.strategy or "none", settings.augmentation_mode)
    n, fetch = data
    size = min(settings.net_batch, n)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(n, generator=generator)
        (x, y), order = fetch(order[:size]), order[size:]
        x = augmentation.apply(augmentation.draw(generator, (x.shape[2], x.shape[3]), len(x)), x)
        if settings.cutmix and float(torch.rand((), generator=generator)) < settings.cutmix:
            x, partner, share = cutmix(x, generator)
            yield Batch(x, y, partner=partner, share=share)
        else:
            yield Batch(x, y)
