"""How theta moves between two image steps: SGD on S or on D (Algorithm 1, line 4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from refluence.condense.settings import Settings
from refluence.data.dataset import Dataset
from refluence.matching import augment
from refluence.matching.mixing import cutmix

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
    net.train()
    parameters = list(net.parameters())
    for _ in range(settings.inner):
        order = torch.randperm(len(images), generator=generator).to(images.device)
        for part in order.split(settings.net_batch):
            x = images[part]
            if augmentation is not None:
                x = augmentation.apply(augmentation.draw(generator, tuple(x.shape[2:]), len(x)), x)
            gradients = torch.autograd.grad(cross_entropy(net(x), labels[part]), parameters)
            with torch.no_grad():
                torch._foreach_add_(parameters, gradients, alpha=-(settings.net_lr if lr is None else lr))


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
    net.train()
    augmentation = augment.parse(settings.strategy or "none", settings.augmentation_mode)
    (n, fetch), right, seen = data, 0, 0
    size = min(settings.net_batch, n)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(n, generator=generator)
        (x, y), order = fetch(order[:size]), order[size:]
        x = augmentation.apply(augmentation.draw(generator, tuple(x.shape[2:]), len(x)), x)
        if settings.cutmix and float(torch.rand((), generator=generator)) < settings.cutmix:
            x, other, share = cutmix(x, generator)
            logits = net(x)
            loss = share * cross_entropy(logits, y) + (1 - share) * cross_entropy(logits, y[other])
        else:
            logits = net(x)
            loss = cross_entropy(logits, y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        right += (logits.detach().argmax(1) == (y if y.dim() == 1 else y.argmax(1))).sum()
        seen += size
    return float(right) / seen if seen else 0.0
