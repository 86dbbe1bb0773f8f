"""A folder of Parquet files, one or more a split: `SPLIT.parquet`, or `TASK-SPLIT.parquet` for `FOLDER:TASK`."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from refluence.data import columns, shards, tokens
from refluence.data.stored import TEST_NAMES, TRAIN_NAMES, Encoded, RawSplit, Splits, split_names
from refluence.errors import InputError
from refluence.options import SourceOptions

BATCH = 512
_NAMES = "|".join((*TRAIN_NAMES, *TEST_NAMES))
_FILE = re.compile(rf"(?:(?P<task>.+)-)?(?P<split>{_NAMES})(?:-\d{{5}}-of-\d{{5}}.*)?\.parquet", re.IGNORECASE)


def files_by_task(folder: Path) -> dict[str | None, dict[str, list[Path]]]:
    """Task (None: no task) → split as it is spelled → files, sorted. Shards as the Hub names them
    (`train-00000-of-00002.parquet`, in the folder or its `data/`; `train/0000.parquet` where there are none of these) belong
    to one split."""
    found: dict[str | None, dict[str, list[Path]]] = {}
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]):
        if match := _FILE.fullmatch(path.name):
            found.setdefault(match["task"], {}).setdefault(match["split"], []).append(path)
    if not found and (by_folder := split_folders(folder)):
        found[None] = by_folder
    return found


def split_folders(folder: Path) -> dict[str, list[Path]]:
    """The tables in folders that are called like splits: name of the folder → files, sorted."""
    places = sorted(path for path in folder.iterdir() if path.name.lower() in (*TRAIN_NAMES, *TEST_NAMES) and path.is_dir())
    held = {place.name: sorted(set(place.glob("*.parquet")) - {place / "metadata.parquet"}) for place in places}
    return {name: files for name, files in held.items() if files}


def unnamed(folder: Path) -> list[Path]:
    """The Parquet files straight in a folder whose names are no split, sorted; tables of scores that Refluence wrote aside."""
    found = [path for path in sorted(folder.glob("*.parquet")) if not _FILE.fullmatch(path.name)]
    return [path for path in found if b"refluence" not in (schema(path).metadata or {})]


def splits(folder: Path, task: str | None, options: SourceOptions) -> Splits:
    """What each split of a folder is read by. `InputError` where the task or its train split does not exist."""
    tasks = files_by_task(folder)
    if task not in tasks:
        named = sorted(name for name in tasks if name)
        if task is None and named:
            raise InputError(f"{folder} holds one set per task: write {folder}:TASK with TASK one of {', '.join(named)}")
        listed = ", ".join(named) or "no TASK-SPLIT.parquet files"
        raise InputError(f"{folder}:{task}: the folder has no task '{task}'; it holds {listed}")
    found = tasks[task]
    trains, tests = split_names(found, str(folder))
    if not trains:
        files = ", ".join(path.name for paths in found.values() for path in paths)
        name = f"{task}-train.parquet" if task else "train.parquet"
        raise InputError(f"{folder} has no train split: expected {name}, found {files}")
    held = {path for files in found.values() for path in files}
    others = 0 if task else len({path for place in {path.parent for path in held} for path in place.glob("*.parquet")} - held)
    return Splits(
        {split: functools.partial(read, found[split], options) for split in (*trains, *tests)},
        passed=(f"{others} other .parquet",) if others else (),
    )


def schema(path: Path) -> pa.Schema:
    """The Arrow schema of one file; a file that is not Parquet is an `InputError` that names it."""
    with _reading(path):
        return pq.read_schema(path)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a broken Parquet file raises becomes one line that names it."""
    try:
        yield
    except UnicodeEncodeError:  # raised by Arrow, which takes no other paths
        raise InputError(f"{path} cannot be read: its path is no UTF-8; give the folder another name") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {(str(error) or type(error).__name__).splitlines()[0]}") from error


def column(paths: list[Path], name: str, field: str | None = None) -> list[Any]:
    """All values of one column (or of one field of a struct column), over several files in order."""
    values: list[Any] = []
    for path in paths:
        with _reading(path):
            table = pq.ParquetFile(path).read(columns=[f"{name}.{field}" if field else name])
        first = len(values)
        _one(table.column_names, name, path)
        for chunk in table.column(name).chunks:
            values += _values(chunk.field(field) if field else chunk, f"{path}, column '{name}'", len(values) - first)
    return values


def _one(names: list[str], name: str, path: Path) -> None:
    """`InputError` where a file that belongs to a split has no such column, or several."""
    if not (count := names.count(name)):
        raise InputError(f"{path} has no column '{name}', as other files of the split have: it is no part of the same split")
    if count > 1:
        raise InputError(f"{path} has {count} columns '{name}': which of them is meant cannot be known; rename the others")


def _values(chunk: pa.Array, where: str, first: int) -> list[Any]:
    """Python values. `first` is the row that the chunk begins with."""
    try:
        return chunk.to_pylist()
    except UnicodeDecodeError:
        for row, value in enumerate(chunk, first):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise InputError(f"{where}: the text of row {row} is no UTF-8 ({error.object!r})") from None
        raise


def _images(paths: list[Path], name: str) -> Iterator[Encoded]:
    for path in paths:
        with _reading(path), pq.ParquetFile(path) as file:
            _one(file.schema_arrow.names, name, path)
            for batch in file.iter_batches(batch_size=BATCH, columns=[name]):
                for value in batch.column(name).to_pylist():
                    yield image_value(value, path.parent)


def _behind(path: Path, name: str, kind: pa.DataType) -> list[Path]:
    """The files that the rows of one Parquet file may name in place of holding the bytes themselves."""
    if pa.types.is_struct(kind):
        if kind.get_field_index("path") < 0 or _holds_all_bytes(path, name):
            return []
        named = column([path], name, "path")
    elif columns.is_text(kind):
        named = column([path], name)
    else:
        return []
    return [path.parent / value for value in named if value]


def _holds_all_bytes(path: Path, name: str) -> bool:
    """Whether the file's own statistics say that no row lacks bytes. Read without its data: it may be large."""
    with _reading(path):
        facts = pq.read_metadata(path)
    for group in range(facts.num_row_groups):
        row_group = facts.row_group(group)
        held = (row_group.column(i) for i in range(row_group.num_columns))
        counted = next((part.statistics for part in held if part.path_in_schema == f"{name}.bytes"), None)
        if counted is None or not counted.has_null_count or counted.null_count:
            return False
    return True


def image_value(value: Any, base: Path | None) -> Encoded:
    """Bytes as they are; a struct's bytes, else its path; a string is a path. Relative paths start at `base`."""
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if isinstance(value, str):
        return Path(value) if base is None else base / value
    return value


def read(paths: list[Path], options: SourceOptions) -> RawSplit:
    """One split. Reads labels, groups and image paths, not the images."""
    shards.refuse_missing(paths)
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent}/{paths[0].name} and {len(paths) - 1} more"
    arrow = schema(paths[0])
    features = columns.features(arrow)
    chosen = columns.text_columns(features, options, where)
    image = chosen[0] if chosen else columns.image_column(features, options.image_column, where)
    label = columns.label_column(features, options.label_column, where)
    _one(arrow.names, image, paths[0])
    groups = None
    if options.group_column is not None:
        groups = column(paths, columns.require(features, options.group_column, "group_column", where))
    if chosen:
        names = columns.class_names(features, label)
        return tokens.stored(where, [column(paths, name) for name in chosen], column(paths, label), names, groups)
    kind = arrow.field(image).type
    has_path = pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
    image_paths = column(paths, image, "path") if has_path else column(paths, image) if columns.is_text(kind) else None
    return RawSplit(
        where=where,
        labels=column(paths, label),
        names=columns.class_names(features, label),
        encoded=functools.partial(_images, paths, image),
        identity=["parquet", image],
        files=[*paths, *(file for path in paths for file in _behind(path, image, kind))],
        paths=tuple(path or "" for path in image_paths) if image_paths and any(image_paths) else None,
        groups=groups,
    )
