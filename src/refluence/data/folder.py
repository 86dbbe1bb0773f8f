"""A folder of image files: `train/<class>/…` (with `test`, `validation` or `val` beside it) or `<class>/…`."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from refluence.data.options import SourceOptions
from refluence.data.stored import TEST_NAMES, Splits, Stored
from refluence.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def _walk(folder: Path) -> Iterator[Path]:
    """Every visible file below `folder`, sorted, following links once."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))


def has_images(folder: Path) -> bool:
    """Whether any image lies in or below the folder."""
    return any(path.suffix.lower() in SUFFIXES for path in _walk(folder))


def splits(folder: Path, options: SourceOptions) -> Splits:
    """What each split of an image folder is read by."""
    if options.group_column is not None:
        raise InputError(f"--group-column {options.group_column}: {folder} is an image folder, it has no columns")
    train = folder / "train"
    if train.is_dir() and _subfolders(train):
        found = {name: folder / name for name in ("train", *TEST_NAMES) if (folder / name).is_dir()}
    elif train.is_dir() and all(path.name in ("train", *TEST_NAMES) for path in _subfolders(folder)):
        raise InputError(f"{train} has no class folders: expected {train}/<class>/<image>")
    else:
        found = {"train": folder}
    return {name: functools.partial(_read, path) for name, path in found.items()}


def _read(folder: Path) -> Stored:
    """One split: each subfolder is a class, every image below it (at any depth) belongs to it."""
    paths: list[Path] = []
    labels: list[str] = []
    empty: list[str] = []
    other: Counter[str] = Counter()
    for directory in _subfolders(folder):
        before = len(paths)
        for path in _walk(directory):
            if path.suffix.lower() in SUFFIXES:
                paths.append(path)
                labels.append(directory.name)
            else:
                other[path.suffix.lower() or "no suffix"] += 1
        if len(paths) == before:
            empty.append(directory.name)
    if not paths:
        raise InputError(f"{folder} has no images in class folders: expected {folder}/<class>/*.jpg, png or webp")
    notes = []
    if other:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(other.items()))
        notes.append(f"{folder}: files that are not jpg, png or webp were ignored ({kinds})")
    if empty:
        notes.append(f"{folder}: folders without images were ignored ({', '.join(empty)})")
    relative = tuple(str(path.relative_to(folder)) for path in paths)
    return Stored(
        where=str(folder),
        labels=labels,
        encoded=functools.partial(iter, paths),
        identity=["folder"],
        files=paths,
        paths=relative,
        notes=tuple(notes),
    )
