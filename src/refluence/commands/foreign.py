"""A network from elsewhere: by what its pixels were normalised (`--pixels`), and whether it is shown what it knows."""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from refluence.data import Dataset
from refluence.errors import InputError

Numbers = tuple[float, ...]
PIXELS: dict[str, tuple[Numbers, Numbers]] = {
    "unit": ((0.0,), (1.0,)),
    "signed": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
FORM = "data, unit (0 to 1), signed (-1 to 1), imagenet, or MEAN:STD such as 0.5:0.25 or 0.49,0.48,0.45:0.25,0.24,0.26"
TRIED, EACH = 512, 10  # training images that the network is tried on: so many, or so many for each class
PIXELS_GAIN, ORDER_GAIN = 0.1, 0.25  # share of right answers that another normalisation, another order of classes must gain


def mean_and_std(text: str, dataset: Dataset) -> tuple[Numbers, Numbers]:
    """`--pixels` as mean and standard deviation of each channel, on pixels of 0 to 1. Errors: `InputError`."""
    if text == "data":
        return dataset.mean, dataset.std
    if text in PIXELS:
        mean, std = PIXELS[text]
    else:
        try:
            mean, std = (tuple(float(number) for number in part.split(",")) for part in text.split(":"))
        except ValueError:
            raise InputError(f"--pixels {text}: expected {FORM}") from None
        if not all(map(math.isfinite, mean + std)) or min(std) <= 0:
            raise InputError(f"--pixels {text}: a mean is a finite number, a standard deviation one above 0")
    channels = dataset.shape[0]
    if wrong := [len(numbers) for numbers in (mean, std) if len(numbers) not in (1, channels)]:
        raise InputError(f"--pixels {text} has numbers for {wrong[0]} channels, the images of {dataset.source} have {channels}")
    return mean * (channels // len(mean)), std * (channels // len(std))


@torch.no_grad()
def doubts(net: nn.Module, dataset: Dataset, device: torch.device | str) -> str | None:
    """Why the network may be misread, where another normalisation or order of its classes would make it right far more often,
    or where it is hardly better than guessing; tried on some training images. None where nothing speaks for that.
    """
    count = min(len(dataset.train), max(TRIED, EACH * len(dataset.classes)))
    rows = torch.linspace(0, len(dataset.train) - 1, count).long()
    labels = dataset.train.labels[rows]
    asked = _confusion(net, dataset, rows, labels, device)
    right, found = _share(asked), []
    for name, (mean, _) in {"": (dataset.mean, dataset.std), **PIXELS}.items():
        if len(mean) in (1, dataset.shape[0]):
            other = dataset.normalised_as(*mean_and_std(name, dataset)) if name else dataset
            confusion = _confusion(net, other, rows, labels, device) if name else asked
            order = linear_sum_assignment(confusion, maximize=True)[1]
            flag = f"with --pixels {name}" if name else ""
            found.append((_share(confusion) - PIXELS_GAIN, flag))
            if count >= EACH * len(dataset.classes):
                words = f"{_reading(order.tolist(), dataset.classes)}{', and ' * bool(name)}{flag}"
                found.append((_share(confusion[:, order]) - ORDER_GAIN, words))
    best, how = max(found, key=lambda each: each[0])
    says = f"it is right on {100 * right:.0f} % of {count} training images"
    if best > right:
        gain = ORDER_GAIN if how.startswith("if") else PIXELS_GAIN
        return f"{says}, and would be on {100 * (best + gain):.0f} % {how}"
    chance = float(labels.bincount(minlength=len(dataset.classes)).max()) / count
    if right < 1.5 * chance:
        return (
            f"{says}, hardly better than guessing ({100 * chance:.0f} %): its pixels may have been normalised otherwise "
            "(--pixels), or its classes stand in another order"
        )
    return None


def _confusion(net: nn.Module, dataset: Dataset, rows: Tensor, labels: Tensor, device: torch.device | str) -> Tensor:
    """How often images of class i are taken for class j, `(K, K)` int64."""
    said = torch.cat([net(dataset.pixels(dataset.train, part, device)).argmax(1).cpu() for part in rows.split(128)])
    k = len(dataset.classes)
    return (labels * k + said).bincount(minlength=k * k).view(k, k)


def _share(confusion: Tensor) -> float:
    return float(confusion.trace() / confusion.sum())


def _reading(order: list[int], classes: tuple[str, ...]) -> str:
    """The first differences of an order of classes: `order[i]` is the output that means class i."""
    moved = [f"its output {output} is '{classes[i]}'" for i, output in enumerate(order) if output != i]
    return f"if its classes stood in another order ({', '.join(moved[:3])}{' …' * (len(moved) > 3)})"
