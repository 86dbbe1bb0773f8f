"""Data from Python as a source: arrays or tensors `(images, labels)`, a torch `Dataset`, a `datasets.Dataset`, splits of these.

What cannot be decided from shapes and types is an `InputError`, one line.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from refluence.data.options import SourceOptions, refuse_columns
from refluence.data.stored import UNSPLIT, Encoded, RawSplit, Splits, split_names
from refluence.errors import InputError

CHANNELS = (1, 3)  # of pictures
LOOKED_AT = 8  # items of a torch Dataset that are read twice
DIGEST = re.compile("(arrays|torch|datasets|splits):[0-9a-f]{12}")
EXPECTED = (
    "expected (images, labels), a torch Dataset of (image, label), a datasets.Dataset or DatasetDict, or a dict of such splits"
)


@runtime_checkable
class MapStyle(Protocol):
    """What a map-style torch `Dataset` and a `datasets.Dataset` have."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


Array = np.ndarray | Tensor
Single = tuple[Array, Array | Sequence[Any]] | MapStyle
Source = str | Path | Single | Mapping[str, Single]
"""What `load` takes: the text of a source, or one of the objects above."""


def splits(source: Single | Mapping[str, Single], test: Single | None, options: SourceOptions) -> tuple[str, Splits]:
    """A name with the digest of what is given (`arrays:1a2b3c4d5e6f`), and what each split is read by.

    The digest is of all images, labels and class names, in their order.
    """
    parts: dict[str, Single] = dict(source) if isinstance(source, Mapping) else {UNSPLIT: source}
    kind = "splits" if isinstance(source, Mapping) else _kind(source)
    if test is not None:
        if any(name.lower() in ("test", "testing") for name in parts):
            raise InputError("test= is given beside splits that hold a test split already: leave one of them out")
        parts = {("train" if name == UNSPLIT else name): part for name, part in parts.items()} | {"test": test}
    trains, tests = split_names(parts, "the dict of splits")
    if not trains and UNSPLIT not in parts:
        raise InputError(f"the dict of splits has no train split; it has {', '.join(map(str, parts)) or 'nothing'}")
    passed = tuple(f"split {name}" for name in parts if name not in (UNSPLIT, *trains, *tests))
    found: dict[str, RawSplit] = {}
    whole = hashlib.sha256()
    for name in (name for name in parts if name in (UNSPLIT, *trains, *tests)):
        found[name], digest = _one(parts[name], f"{_kind(parts[name])}{f' ({name})' if name else ''}", options)
        whole.update(f"{name}:{digest}".encode())
    readers: dict[str, Callable[[], RawSplit]] = {name: functools.partial(_same, split) for name, split in found.items()}
    return f"{kind}:{whole.hexdigest()[:12]}", Splits(readers, passed=passed)


def _same(split: RawSplit) -> RawSplit:
    return split


def _kind(source: Single) -> str:
    if isinstance(source, (tuple, list)):
        return "arrays"
    datasets = sys.modules.get("datasets")  # who has such an object has imported it
    if datasets is not None and isinstance(source, datasets.Dataset):
        return "datasets"
    return "torch"


def _one(source: Single, where: str, options: SourceOptions) -> tuple[RawSplit, str]:
    """One split, and its digest."""
    kind = _kind(source)
    if kind == "datasets":
        from refluence.data import hub

        split = hub.read(source.with_format(None), where, options)  # type: ignore[union-attr]
        return split, _digest(split, split.encoded())
    refuse_columns(options, f"{where}: only tables have columns")
    if isinstance(source, (tuple, list)):
        if len(source) != 2:
            raise InputError(f"{where}: {len(source)} things in place of two, images and labels")
        images, labels = source
        return _arrays(images, labels, where)
    if not isinstance(source, MapStyle):
        raise InputError(f"{type(source).__name__} is no source of data that can be indexed: {EXPECTED}")
    return _torch(source, where)


def _arrays(
    images: Array, labels: Array | Sequence[Any], where: str, names: tuple[str, ...] | None = None
) -> tuple[RawSplit, str]:
    pixels, given = channels_first(images, where), _labels(labels, where)
    if len(pixels) != len(given):
        raise InputError(f"{where}: {len(pixels)} images and {len(given)} labels: each image needs one")
    split = RawSplit(where, given, functools.partial(iter, ()), names=names, notes=_range(pixels, where), pixels=pixels)
    return split, _digest(split, (image.numpy() for image in pixels), f"{pixels.dtype} {tuple(pixels.shape)}")


def channels_first(images: Array, where: str) -> Tensor:
    """Images as `(N, C, H, W)`, uint8 or float32 on the CPU. `InputError` where it cannot be known which axis is which."""
    if not isinstance(images, (np.ndarray, Tensor)):
        raise InputError(f"{where}: images are of type {type(images).__name__}: expected an array or a tensor")
    if isinstance(images, np.ndarray):
        try:
            images = torch.from_numpy(images if images.flags.writeable and images.flags.c_contiguous else images.copy())
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: images are {images.dtype}: expected uint8 (0 to 255) or floats") from error
    images = images.detach().cpu()
    shape = tuple(images.shape)
    if not images.is_floating_point() and images.dtype != torch.uint8:
        raise InputError(f"{where}: images are {str(images.dtype).removeprefix('torch.')}: expected uint8 (0 to 255) or floats")
    if images.ndim not in (3, 4) or 0 in shape:
        raise InputError(f"{where}: images have the shape {shape}: expected (N, C, H, W), (N, H, W, C) or (N, H, W), not empty")
    images = images if images.dtype == torch.uint8 else images.float()
    if images.is_floating_point() and not bool(images.isfinite().all()):
        raise InputError(f"{where}: {int((~images.isfinite()).sum())} pixels are not finite numbers")
    if images.ndim == 3:
        return images[:, None]
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if not first and not last:  # more channels than pictures have: height and width are equal
        first, last = shape[2] == shape[3], shape[1] == shape[2]
    if first == last:
        raise InputError(
            f"{where}: which axis of {shape} holds the channels cannot be known: give (N, C, H, W) or (N, H, W, C), C 1 or 3"
        )
    return images if first else images.permute(0, 3, 1, 2).contiguous()


def _labels(labels: Array | Sequence[Any], where: str) -> list[Any]:
    if isinstance(labels, (np.ndarray, Tensor)):
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise InputError(f"{where}: labels have the shape {tuple(labels.shape)}: expected (N,), whole numbers or names")
    return [each.item() if isinstance(each, (Tensor, np.ndarray, np.generic)) and each.ndim == 0 else each for each in labels]


def _range(pixels: Tensor, where: str) -> tuple[str, ...]:
    """A note where floats leave [0, 1], the range of pictures."""
    low, high = pixels.aminmax()
    if pixels.dtype == torch.uint8 or (low >= 0 and high <= 1):
        return ()
    return (f"{where}: pixels from {low:.4g} to {high:.4g} are kept as they come; pictures of them are clipped to 0 to 1",)


def _torch(dataset: MapStyle, where: str) -> tuple[RawSplit, str]:
    """Items `(image, label)`: tensors and arrays are stacked, PIL images are decoded one by one when they are asked for."""
    if not len(dataset):
        raise InputError(f"{where}: the dataset is empty")
    _check_repeats(dataset, where)
    if not isinstance(_item(dataset, 0, where)[0], Image.Image):
        return _arrays(*_stacked(dataset, where), where, _names(dataset))
    labels, images = list[Any](), hashlib.sha256()
    for index in range(len(dataset)):
        image, label = _item(dataset, index, where)
        labels.append(label)
        _add(images, image)
    split = RawSplit(where, _labels(labels, where), functools.partial(_pictures, dataset, where), names=_names(dataset))
    return split, _digest(split, facts=images.hexdigest())


def _stacked(dataset: MapStyle, where: str) -> tuple[Tensor, list[Any]]:
    """The images of all items as one tensor, and their labels. `InputError` where they are of several kinds or shapes."""
    images, labels = list[Tensor](), list[Any]()
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


def _item(dataset: MapStyle, index: int, where: str) -> tuple[Any, Any]:
    item = dataset[index]
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise InputError(f"{where}: item {index} is of type {type(item).__name__}: expected (image, label)")
    return item[0].detach().cpu() if isinstance(item[0], Tensor) else item[0], item[1]


def _names(dataset: Any) -> tuple[str, ...] | None:
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


def _digest(split: RawSplit, images: Iterable[Encoded] = (), facts: str = "") -> str:
    """SHA-256 over labels, class names and images."""
    found = hashlib.sha256(repr((list(split.labels), split.names, facts)).encode())
    for image in images:
        _add(found, image)
    return found.hexdigest()


def _add(found: hashlib._Hash, image: Encoded) -> None:
    if isinstance(image, Image.Image):
        found.update(f"{image.mode} {image.size}".encode() + image.tobytes())
    elif isinstance(image, Path):
        found.update(image.read_bytes() if image.is_file() else str(image).encode())
    elif isinstance(image, np.ndarray):
        found.update(np.ascontiguousarray(image).tobytes())
    else:
        found.update(image or b"")
