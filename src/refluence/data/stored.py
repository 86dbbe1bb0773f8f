"""One split as it lies in its source: labels known, images not decoded yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TEST_NAMES = ("test", "validation", "val")
"""What the test split may be called, best first."""

Encoded = bytes | Path | np.ndarray | None
"""An image before decoding: a file's bytes, its path, uint8 pixels `(H, W)` or `(H, W, 3)`, or nothing (missing)."""


@dataclass(frozen=True)
class Stored:
    """A stored split of N rows.

    `labels` are the raw values (int, str, …, None where missing), `names` the class names where the labels are integers
    with a known meaning, `encoded` walks the N images in row order, `groups` are the raw values of the group column.
    The decoded cache is keyed by `identity` (JSON values that say which images of which source these are; None: not
    cached) and by size and times of every file in `files`: all those whose bytes decide the pixels.
    """

    where: str
    labels: Sequence[Any]
    encoded: Callable[[], Iterator[Encoded]]
    identity: Any = None
    files: Sequence[Path] = ()
    names: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    groups: Sequence[Any] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def describe(self, row: int) -> str:
        """Where a reader finds that row: its path if it has one, and its number."""
        path = self.paths[row] if self.paths and self.paths[row] else ""
        return f"{path} (row {row} of {self.where})" if path else f"row {row} of {self.where}"


Splits = dict[str, Callable[[], Stored]]
"""Split name (`train`, `test`, `validation`, `val`) to what reads it."""
