"""A map-style torch `Dataset` of (image, label) as a stored split."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from refluence.data import arrays
from refluence.data.stored import Encoded, RawSplit
from refluence.errors import InputError

LOOKED_AT = 8  # items that are read twice


@runtime_checkable
class MapStyle(Protocol):
    """What a map-style torch `Dataset` and a `datasets.Dataset` have."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> object: ...


def read(dataset: MapStyle, where: str) -> tuple[RawSplit, str]:
    """Items `(image, label)`: tensors and arrays are stacked, PIL images are decoded one by one when they are asked for."""
    if not len(dataset):
        raise InputError(f"{where}: the dataset is empty")
    _check_repeats(dataset, where)
    if not isinstance(_item(dataset, 0, where)[0], Image.Image):
        return arrays.read(*_stacked(dataset, where), where, _names(dataset))
    labels, images = list[object](), hashlib.sha256()
    for index in range(len(dataset)):
        image, label = _item(dataset, index, where)
        labels.append(label)
        arrays.add(images, image)
    split = RawSplit(
        where, arrays.label_list(labels, where), functools.partial(_pictures, dataset, where), names=_names(dataset)
    )
    return split, arrays.digest(split, facts=images.hexdigest())


def _stacked(dataset: MapStyle, where: str) -> tuple[Tensor, list[object]]:
    """The images of all items as one tensor, and their labels. `InputError` where they are of several kinds or shapes."""
    images, labels = list[Tensor](), list[object]()
    for index in range(len(dataset)):
        image, label = _item(dataset, index, where)
        if not isinstance(image, (Tensor, np.ndarray)):
            kind = type(image).__name__
            raise InputError(
                f"{where}: the image of item {index} is of type {kind}: expected a tensor, an array or a PIL image"
            )
        images.append(torch.as_tensor(image))
        labels.append(label)
        if images[-1].shape != images[0].shape or images[-1].dtype != images[0].dtype:
            both = " and ".join(f"{tuple(each.shape)} {each.dtype}" for each in (images[0], images[-1]))
            raise InputError(f"{where}: items 0 and {index} are {both}: make them alike in the dataset's transform")
    return torch.stack(images), labels


def _pictures(dataset: MapStyle, where: str) -> Iterator[Encoded]:
    for index in range(len(dataset)):
        yield _item(dataset, index, where)[0]


def _item(dataset: MapStyle, index: int, where: str) -> tuple[Any, object]:
    try:
        item = dataset[index]
    except Exception as error:
        said = " ".join(str(error).split())
        raise InputError(f"{where}: item {index} cannot be read ({type(error).__name__}: {said})") from error
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise InputError(f"{where}: item {index} is of type {type(item).__name__}: expected (image, label)")
    return item[0].detach().cpu() if isinstance(item[0], Tensor) else item[0], item[1]


def _names(dataset: object) -> tuple[str, ...] | None:
    """`classes` of the dataset, or of that which it is a part of (`Subset`)."""
    while not hasattr(dataset, "classes") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else None


def _check_repeats(dataset: MapStyle, where: str) -> None:
    """`InputError` where an item is another one each time, as under augmentation."""
    for index in range(min(LOOKED_AT, len(dataset))):
        once, again = (np.asarray(_item(dataset, index, where)[0]) for _ in range(2))
        if once.shape != again.shape or not np.array_equal(once, again):
            raise InputError(
                f"{where}: item {index} is another image each time it is read: leave random augmentation out of its transform"
            )
