"""Data from Python as a source: arrays or tensors `(images, labels)`, a torch `Dataset`, a `datasets.Dataset`, splits of these.

What cannot be decided from shapes and types is an `InputError`, one line.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from refluence.data import arrays, map_style
from refluence.data.arrays import Array
from refluence.data.distilled import DistilledSet
from refluence.data.map_style import MapStyle
from refluence.data.options import refuse_columns
from refluence.data.stored import UNSPLIT, RawSplit, Splits, split_names
from refluence.errors import InputError
from refluence.options import SourceOptions

DIGEST = re.compile("(arrays|torch|datasets|splits|set):[0-9a-f]{12}")
EXPECTED = (
    "expected (images, labels), a torch Dataset or list of (image, label), a datasets.Dataset or DatasetDict, a dict of these"
)

Single = tuple[Array, Array | Sequence[object]] | MapStyle
Source = str | Path | Single | Mapping[str, Single] | DistilledSet
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
        return "torch" if _pairs(source) else "arrays"
    datasets = sys.modules.get("datasets")  # who has such an object has imported it
    if datasets is not None and isinstance(source, datasets.Dataset):
        return "datasets"
    return "torch"


def _pairs(source: object) -> bool:
    """Whether it is a list of (image, label), which is read as a torch `Dataset` is."""
    return isinstance(source, list) and bool(source) and all(isinstance(each, tuple) and len(each) == 2 for each in source)


def _one(source: Single, where: str, options: SourceOptions) -> tuple[RawSplit, str]:
    """One split, and its digest."""
    kind = _kind(source)
    if kind == "datasets" and hasattr(source, "with_format"):
        from refluence.data import hub

        split = hub.read(source.with_format(None), where, options)
        return split, arrays.digest(split, split.encoded())
    refuse_columns(options, f"{where}: only tables have columns")
    if isinstance(source, (tuple, list)) and not _pairs(source):
        if len(source) != 2:
            raise InputError(f"{where}: {len(source)} things in place of two, images and labels")
        images, labels = source
        return arrays.read(images, labels, where)
    if not isinstance(source, MapStyle):
        raise InputError(f"{type(source).__name__} is no source of data that can be indexed: {EXPECTED}")
    return map_style.read(source, where)
