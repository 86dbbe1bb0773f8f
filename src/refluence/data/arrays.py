"""Arrays and tensors `(images, labels)` as a stored split, and the digest of data from Python."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from refluence.data.stored import Encoded, RawSplit
from refluence.errors import InputError

Array = np.ndarray | Tensor
CHANNELS = (1, 3)  # of pictures


def read(
    images: Array, labels: Array | Sequence[object], where: str, names: tuple[str, ...] | None = None
) -> tuple[RawSplit, str]:
    """The split of N images and N labels, and its digest. `where` is what an error calls them. `names` are those of numbers."""
    pixels, given = channels_first(images, where), label_list(labels, where)
    if len(pixels) != len(given):
        raise InputError(f"{where}: {len(pixels)} images and {len(given)} labels: each image needs one")
    split = RawSplit(where, given, functools.partial(iter, ()), names=names, notes=_range(pixels, where), pixels=pixels)
    return split, digest(split, pixels.numpy(), f"{pixels.dtype} {tuple(pixels.shape)}")


def channels_first(images: Array, where: str) -> Tensor:
    """A copy of images as `(N, C, H, W)`, uint8 or float32 on the CPU. `InputError`: which axis is which cannot be known."""
    if not isinstance(images, (np.ndarray, Tensor)):
        raise InputError(f"{where}: images are of type {type(images).__name__}: expected an array or a tensor")
    if isinstance(images, np.ndarray):
        try:
            images = torch.from_numpy(images.copy())
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: images are {images.dtype}: expected uint8 (0 to 255) or floats") from error
    else:
        images = images.detach().to("cpu", copy=True)
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


def label_list(labels: Array | Sequence[object], where: str) -> list[object]:
    """Labels `(N,)` or `(N, 1)` as plain values."""
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


def digest(split: RawSplit, images: Iterable[Encoded] = (), facts: str = "") -> str:
    """SHA-256 over labels, class names and images."""
    found = hashlib.sha256(repr((list(split.labels), split.names, facts)).encode())
    for image in images:
        add(found, image)
    return found.hexdigest()


def add(found: hashlib._Hash, image: Encoded) -> None:
    """Take an image into a digest."""
    if isinstance(image, Image.Image):
        found.update(f"{image.mode} {image.size}".encode() + image.tobytes())
    elif isinstance(image, Path):
        found.update(image.read_bytes() if image.is_file() else str(image).encode())
    elif isinstance(image, np.ndarray):
        found.update(np.ascontiguousarray(image).tobytes())
    else:
        found.update(image or b"")
