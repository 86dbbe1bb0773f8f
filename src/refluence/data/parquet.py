"""A folder of Parquet files, one or more a split: `SPLIT.parquet`, or `TASK-SPLIT.parquet` for `FOLDER:TASK`."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from refluence.data import columns
from refluence.data.options import SourceOptions
from refluence.data.stored import TEST_NAMES, Encoded, Splits, Stored
from refluence.errors import InputError

BATCH = 512
_SPLITS = "|".join(("train", *TEST_NAMES))
_FILE = re.compile(rf"(?:(?P<task>.+)-)?(?P<split>{_SPLITS})(?:-\d{{5}}-of-\d{{5}}.*)?\.parquet")


def files_by_task(folder: Path) -> dict[str | None, dict[str, list[Path]]]:
    """Task (None: no task) → split → files, sorted. Shards as the Hub names them (`train-00000-of-00002.parquet`, in
    the folder or its `data/`) belong to one split."""
    found: dict[str | None, dict[str, list[Path]]] = {}
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]):
        if match := _FILE.fullmatch(path.name):
            found.setdefault(match["task"], {}).setdefault(match["split"], []).append(path)
    return found


def splits(folder: Path, task: str | None, options: SourceOptions) -> Splits:
    """What each split of a folder is read by. `InputError` where the task or its train split does not exist."""
    tasks = files_by_task(folder)
    if task not in tasks:
        named = sorted(name for name in tasks if name)
        if task is None and named:
            raise InputError(f"{folder} holds one set per task: write {folder}:TASK with TASK one of {', '.join(named)}")
        held = ", ".join(named) or "no TASK-SPLIT.parquet files"
        raise InputError(f"{folder}:{task}: the folder has no task '{task}'; it holds {held}")
    found = tasks[task]
    if "train" not in found:
        files = ", ".join(path.name for paths in found.values() for path in paths)
        name = f"{task}-train.parquet" if task else "train.parquet"
        raise InputError(f"{folder} has no train split: expected {name}, found {files}")
    return {split: functools.partial(_read, paths, options) for split, paths in found.items()}


def schema(path: Path) -> pa.Schema:
    """The Arrow schema of one file; a file that is not Parquet is an `InputError` that names it."""
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def column(paths: list[Path], name: str, field: str | None = None) -> list[Any]:
    """All values of one column (or of one field of a struct column), over several files in order."""
    try:
        tables = [pq.ParquetFile(path).read(columns=[f"{name}.{field}" if field else name]) for path in paths]
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{paths[0]} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    values: list[Any] = []
    for table in tables:
        for chunk in table.column(0).chunks:
            values += (chunk.field(field) if field else chunk).to_pylist()
    return values


def _images(paths: list[Path], name: str) -> Iterator[Encoded]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH, columns=[name]):
                for value in batch.column(0).to_pylist():
                    yield image_value(value, path.parent)


def image_value(value: Any, base: Path | None) -> Encoded:
    """Bytes as they are; a struct's bytes, else its path; a string is a path. Relative paths start at `base`."""
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if isinstance(value, str):
        return Path(value) if base is None else base / value
    return value


def _read(paths: list[Path], options: SourceOptions) -> Stored:
    """One split. Reads labels, groups and image paths, not the images."""
    from datasets import Features

    where = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent}/{paths[0].name} and {len(paths) - 1} more"
    arrow = schema(paths[0])
    features = Features.from_arrow_schema(arrow)
    image = columns.image_column(features, options.image_column, where)
    label = columns.label_column(features, options.label_column, where)
    groups = None
    if options.group_column is not None:
        groups = column(paths, columns.require(features, options.group_column, "--group-column", where))
    kind = arrow.field(image).type
    has_path = pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
    image_paths = column(paths, image, "path") if has_path else None
    stats = [(path, path.stat()) for path in paths]
    return Stored(
        where=where,
        labels=column(paths, label),
        names=columns.class_names(features, label),
        encoded=functools.partial(_images, paths, image),
        identity=["parquet", image, *([str(path.resolve()), s.st_size, s.st_mtime_ns] for path, s in stats)],
        paths=tuple(path or "" for path in image_paths) if image_paths and any(image_paths) else None,
        groups=groups,
    )
