"""Data as a network from elsewhere knows them: its classes, by what its pixels were normalised, and whether that fits."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from refluence.data.dataset import Dataset, unit
from refluence.data.text import TextDataset
from refluence.errors import InputError, option
from refluence.files import Json

Numbers = tuple[float, ...]
PIXELS: dict[str, tuple[Numbers, Numbers]] = {
    "unit": ((0.0,), (1.0,)),
    "signed": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
FORM = "data, unit (0 to 1), signed (-1 to 1), imagenet, or MEAN:STD such as 0.5:0.25 or 0.49,0.48,0.45:0.25,0.24,0.26"
FROM_PYTHON = re.compile("(arrays|torch|splits):[0-9a-f]{12}$")  # sources whose floats are nobody's but the user's
TRIED, EACH = 512, 10  # training images that the network is tried on: so many, or so many for each class
PIXELS_GAIN, ORDER_GAIN = 0.1, 0.25  # share of right answers that another normalisation, another order of classes must gain


def mean_and_std(text: str, dataset: Dataset) -> tuple[Numbers, Numbers]:
    """The option `pixels` as mean and standard deviation of each channel, on pixels of 0 to 1. Errors: `InputError`."""
    if text == "data":
        return dataset.mean, dataset.std
    if text in PIXELS:
        mean, std = PIXELS[text]
    else:
        try:
            mean, std = (tuple(float(number) for number in part.split(",")) for part in text.split(":"))
        except ValueError:
            raise InputError(f"{option('pixels')} {text}: expected {FORM}") from None
        if not all(map(math.isfinite, mean + std)) or min(std) <= 0:
            raise InputError(f"{option('pixels')} {text}: a mean is a finite number, a standard deviation one above 0")
    channels = dataset.shape[0]
    if wrong := [len(numbers) for numbers in (mean, std) if len(numbers) not in (1, channels)]:
        there = f"the images of {dataset.source} have {channels}"
        raise InputError(f"{option('pixels')} {text} has numbers for {wrong[0]} channels, {there}")
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
    for name, (mean, std) in {"": (dataset.mean, dataset.std), **_others(dataset, rows)}.items():
        confusion = _confusion(net, dataset.normalised_as(mean, std), rows, labels, device) if name else asked
        order = linear_sum_assignment(confusion, maximize=True)[1]
        flag = f"with {option('pixels', name)}" if name else ""
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
            f"({option('pixels')}), or its classes stand in another order"
        )
    return None


def _others(dataset: Dataset, rows: Tensor) -> dict[str, tuple[Numbers, Numbers]]:
    """Other normalisations by name, of texts none; where pixels are as they came, that of the training split too, by `rows`."""
    if isinstance(dataset, TextDataset):
        return {}
    found = {name: mean_and_std(name, dataset) for name, (mean, _) in PIXELS.items() if len(mean) in (1, dataset.shape[0])}
    if (dataset.mean, dataset.std) == found["unit"]:
        std, mean = torch.std_mean(unit(dataset.train.images[rows]), (0, 2, 3))
        found["data"] = tuple(mean.tolist()), tuple(std.clamp(min=1e-6).tolist())
    return found


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


def refuse_pixels(dataset: Dataset, pixels: str | None) -> None:
    """`InputError` where the option `pixels` is given for texts."""
    if pixels is not None and isinstance(dataset, TextDataset):
        raise InputError(f"{option('pixels')} {pixels} is for images: {dataset.source} holds texts")


def check_classes(path: Path, facts: Json, dataset: Dataset) -> None:
    """`InputError` where the network in `path`, of which its file says `facts`, was trained on other classes."""
    classes = facts.get("classes")
    if classes is not None and tuple(classes) != dataset.classes:
        raise InputError(
            f"{option('load')} {path} was trained on the classes {', '.join(classes[:5])} … ({len(classes)}), {dataset.source} "
            f"has {', '.join(dataset.classes[:5])} … ({len(dataset.classes)}): they must be the same"
        )


def normalised(path: Path, facts: Json, dataset: Dataset, pixels: str | None) -> tuple[Dataset, str | None]:
    """The dataset with its pixels normalised as the network in `path` knows them: by `pixels`, else as its file says in
    `facts`, else as the training split, which the line says then.
    """
    refuse_pixels(dataset, pixels)
    if isinstance(dataset, TextDataset):
        return dataset, None
    if pixels is not None:
        return dataset.normalised_as(*mean_and_std(pixels, dataset)), None
    mean, std = facts.get("mean"), facts.get("std")
    if mean is None or std is None:
        return dataset, f"{path} does not say by what its pixels were normalised: here they are {_by_train(dataset)}"
    if len(mean) != dataset.shape[0]:
        raise InputError(
            f"{option('load')} {path} was trained on images of {len(mean)} channels, those of {dataset.source} have "
            f"{dataset.shape[0]}; {option('pixels')} says how to normalise them all the same"
        )
    return dataset.normalised_as(tuple(mean), tuple(std)), None


def as_handed_over(dataset: Dataset, pixels: str | None) -> tuple[Dataset, str | None]:
    """The dataset as a trained network that was handed over in Python knows it, and a line about what was not asked for.

    Without `pixels`, floats that came from Python are taken as they came: who trained a network on them fed it these numbers.
    Other pixels are normalised as the training split.
    """
    refuse_pixels(dataset, pixels)
    if isinstance(dataset, TextDataset):
        return dataset, None
    if pixels is not None:
        return dataset.normalised_as(*mean_and_std(pixels, dataset)), None
    if dataset.train.images.is_floating_point() and FROM_PYTHON.match(dataset.source):
        said = f"the network gets the pixels as they came: {option('pixels', 'data')} normalises them by the training split"
        return dataset.normalised_as(*mean_and_std("unit", dataset)), said
    return dataset, f"the network gets pixels that are normalised {_by_train(dataset)}"


def _by_train(dataset: Dataset) -> str:
    numbers = " and ".join(f"{what} {_numbers(each)}" for what, each in (("mean", dataset.mean), ("std", dataset.std)))
    return f"by {numbers} of the training split; {option('pixels')} names others ({', '.join(PIXELS)}, MEAN:STD)"


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)
