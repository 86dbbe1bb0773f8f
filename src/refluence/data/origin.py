"""Whether a dataset is still what `load` gave, and the digest of one that was changed or made by hand.

A run that is to be resumed must meet the same data. What `load` read is known by its source; what was changed in Python
afterwards, as by `dataclasses.replace`, is known by its content alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from refluence.data.dataset import Dataset, Split

CHUNK = 4096  # images that are copied at a time


@dataclass(frozen=True, eq=False)
class Origin:
    """What `load` gave. `textual`: words alone name it, so that another process can read the same, with `per_class`."""

    train: Split
    val: Split
    test: Split
    unlabelled: Split | None
    versions: tuple[int, ...]
    textual: bool
    per_class: int


def origin(dataset: Dataset, textual: bool, per_class: int) -> Origin:
    """What is remembered of a dataset that was just loaded."""
    return Origin(dataset.train, dataset.val, dataset.test, dataset.unlabelled, tuple(_versions(dataset)), textual, per_class)


def changed(dataset: Dataset) -> bool:
    """Whether the dataset has other splits than `load` gave, or was not loaded at all. Looks at no pixel."""
    was = dataset.origin
    return (
        was is None
        or any(now is not then for now, then in zip(_four(dataset), _four(was), strict=True))
        or tuple(_versions(dataset)) != was.versions
    )


def digest(dataset: Dataset) -> str:
    """Twelve digits of all that the splits hold."""
    found = hashlib.sha256()
    for split in _splits(dataset):
        for tensor in _tensors(split):
            found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            for part in tensor.split(CHUNK):
                found.update(part.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]


def _four(of: Dataset | Origin) -> tuple[Split | None, ...]:
    return of.train, of.val, of.test, of.unlabelled


def _splits(dataset: Dataset) -> list[Split]:
    return [split for split in _four(dataset) if split is not None]


def _tensors(split: Split) -> Iterator[Tensor]:
    yield from (split.images, split.labels, split.rows)
    yield from (each for each in (split.soft, split.stored, split.shifted) if each is not None)


def _versions(dataset: Dataset) -> Iterator[int]:
    """PyTorch counts what is written into a tensor."""
    for split in _splits(dataset):
        for tensor in _tensors(split):
            yield 0 if tensor.is_inference() else tensor._version
