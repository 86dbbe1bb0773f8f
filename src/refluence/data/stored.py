"""A source before decoding: its splits and their names; of a split, labels are known and images are not decoded yet."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from refluence.errors import InputError

TRAIN_NAMES = ("train", "training", "trainval")
VALIDATION_NAMES = ("validation", "val", "valid", "dev", "eval")
TEST_NAMES = ("test", "testing", *VALIDATION_NAMES)
"""What the splits may be called, in any case, best first. A validation split stands in for a test split that is missing."""

V = TypeVar("V")
UNSPLIT = ""
"""The name of all rows of a source that has no splits."""

Moments = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and std per channel."""

Encoded = bytes | Path | np.ndarray | Image.Image | None
"""An image before decoding: a file's bytes, its path, uint8 pixels `(H, W)` or `(H, W, 3)`, PIL's, or nothing (missing)."""


def _group(value: object) -> Hashable:
    """A group as a value that can be compared; NaN is no group, of lists and structs the text is taken."""
    if isinstance(value, float) and value != value:
        return None
    return value if isinstance(value, Hashable) else repr(value)


def readable(value: V) -> V | str:
    r"""Text as UTF-8 can hold it: a byte of a file's name that is none of UTF-8 is spelled `\xNN`. Other values as they are."""
    if not isinstance(value, str) or value.isascii():
        return value
    try:
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character
        return value.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class RawSplit:
    """A stored split of N rows.

    `labels` are the raw values (int, str, …, None where missing), `names` the class names where the labels are integers
    with a known meaning, `encoded` walks the N images in row order, `groups` are the raw values of the group column.
    The decoded cache is keyed by `identity` (JSON values that say which images of which source these are; None: not
    cached) and by size and times of every file in `files`: all those whose bytes decide the pixels. `passed` is what was
    passed over, counted ("3 .txt"). `pixels (N, C, H, W)`, uint8 or float32, stand in for `encoded` where nothing is to decode.
    `soft (N, len(names))` are probabilities of the classes, where labels have been softened. `texts` are one or two texts a
    row, where these are no images: `encoded` gives their bytes then.
    """

    where: str
    labels: Sequence[object]
    encoded: Callable[[], Iterator[Encoded]]
    identity: object = None
    files: Sequence[Path] = ()
    names: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    groups: Sequence[object] | None = None
    notes: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    pixels: Tensor | None = None
    soft: Tensor | None = None
    texts: Sequence[tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        """Names of files are bytes, and need be no UTF-8: here they become text that every file and terminal can hold."""
        object.__setattr__(self, "where", readable(self.where))
        for name, kind in (("labels", list), ("names", tuple), ("paths", tuple), ("notes", tuple)):
            if (held := getattr(self, name)) is not None:
                object.__setattr__(self, name, kind(map(readable, held)))
        if self.groups is not None:
            object.__setattr__(self, "groups", [_group(value) for value in self.groups])

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def what(self) -> str:
        """What its rows are, in a message."""
        return "images" if self.texts is None else "texts"

    def describe(self, row: int) -> str:
        """Where a reader finds that row: its path if it has one, and its number."""
        path = self.paths[row] if self.paths and self.paths[row] else ""
        return f"{path} (row {row} of {self.where})" if path else f"row {row} of {self.where}"


@dataclass(frozen=True)
class Splits:
    """What a source is made of: what reads each split, by the split's name as it is spelled there (or `UNSPLIT`).

    `inside` is the folder below the one that was named which holds the splits, `passed` what was passed over beside them.
    `moments` are mean and std per channel, where images are not to be normalised by those of train.
    """

    readers: dict[str, Callable[[], RawSplit]]
    inside: str | None = None
    passed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    moments: Moments | None = None


def split_names(names: Iterable[str], where: str) -> tuple[list[str], list[str]]:
    """Those of the names that spell the train split and those that spell a test or validation split, each best first.

    Errors: `InputError` where two names of one split differ only by case.
    """
    lower: dict[str, str] = {}
    for name in names:
        key = name.lower()
        if key in lower and key in (*TRAIN_NAMES, *TEST_NAMES):
            raise InputError(f"{where} holds {lower[key]} and {name}: which of them is the split? Rename the other one")
        lower[key] = name
    return [lower[key] for key in TRAIN_NAMES if key in lower], [lower[key] for key in TEST_NAMES if key in lower]
