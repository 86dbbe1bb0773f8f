"""From raw labels (names, integers, other people's votes) to class indices 0 … K-1 that train and test share."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refluence.data.options import split_pair
from refluence.data.stored import Stored
from refluence.errors import InputError

Key = str | int


@dataclass(frozen=True)
class Labels:
    """`classes` (K names); `train (N,)`, `test (M,)` and `stored (N,)` are int64 indices into them.

    `test` is None where it has to be cut from train. `stored` are train's labels before `--labels`, for that cut.
    """

    classes: tuple[str, ...]
    train: np.ndarray
    stored: np.ndarray
    test: np.ndarray | None
    notes: tuple[str, ...] = ()


def resolve(train: Stored, test: Stored | None, replacement: str | None = None) -> Labels:
    """Class indices of both splits. `replacement` is `FILE:COLUMN`: it relabels the stored train split alone.

    Strings are sorted; integers keep their order, and their names where the source has them. Classes without a single
    row are left out and the rest is numbered anew. Errors: a missing label, a label that is no class, fractions, names
    beside numbers, and a labels file of another length.
    """
    names = train.names or (test.names if test else None)
    stored = _keys(train.labels, train.where, train.names or names, missing_ok=replacement is not None)
    theirs = _keys(test.labels, test.where, test.names or names) if test else []
    known = {key for key in (*stored, *theirs) if key is not None} | set(names or ())
    ours, notes = stored, []
    if replacement:
        ours, note = _replaced(replacement, train, names, known, stored)
        notes.append(note)
    stored = [new if old is None else old for old, new in zip(stored, ours, strict=True)]
    used = {*ours, *theirs, *(() if test else stored)}
    if len({type(key) for key in used}) > 1:
        raise InputError(f"labels of {train.where} and {test.where if test else replacement} mix names and numbers")
    order = {name: index for index, name in enumerate(dict.fromkeys([*(names or ()), *((test and test.names) or ())]))}
    keys = sorted(used, key=(lambda key: order[key]) if order else None)
    index = {key: position for position, key in enumerate(keys)}
    if len(keys) < 2:
        raise InputError(f"{train.where} has {len(keys)} class ({', '.join(map(str, keys))}): at least 2 are needed")
    if unused := [name for name in order if name not in used]:
        notes.append(f"classes without any image are left out: {_list(unused)}")
    a, b, c = (np.fromiter((index.get(key, -1) for key in side), np.int64, len(side)) for side in (ours, stored, theirs))
    return Labels(tuple(map(str, keys)), a, b, c if test else None, tuple(notes))


def _keys(values: Sequence[Any], where: str, names: tuple[str, ...] | None, missing_ok: bool = False) -> list[Key | None]:
    """Each raw value as a class name (where integers have names) or as the integer or string it is."""
    keys: list[Key | None] = []
    memory: dict[Any, Key | None] = {}
    missing: list[int] = []
    for row, value in enumerate(values):
        try:
            key = memory[value]
        except KeyError:
            key = memory[value] = _key(value, row, where, names)
        except TypeError:
            raise InputError(f"row {row} of {where}: label {value!r} is neither a number nor a name") from None
        if key is None:
            missing.append(row)
        keys.append(key)
    if missing and not missing_ok:
        raise InputError(
            f"{where}: {len(missing)} of {len(keys)} labels are missing (rows {_list(missing)}); "
            "remove those rows, or give labels with --labels FILE:COLUMN"
        )
    return keys


def _key(value: Any, row: int, where: str, names: tuple[str, ...] | None) -> Key | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (bool, np.bool_)):
        value = int(value)
    if isinstance(value, (float, np.floating)):
        if not float(value).is_integer():
            raise InputError(f"row {row} of {where}: label {value} is not a whole number; classes are integers or names")
        value = int(value)
    if isinstance(value, (int, np.integer)):
        value = int(value)
        if names is None:
            return value
        if value == -1:  # the Hub's mark for a hidden label
            return None
        if not 0 <= value < len(names):
            raise InputError(f"row {row} of {where}: label {value} is outside 0 … {len(names) - 1} ({_list(names)})")
        return names[value]
    if isinstance(value, str):
        return value
    raise InputError(f"row {row} of {where}: label {value!r} is neither a number nor a name")


def _replaced(
    pair: str, train: Stored, names: tuple[str, ...] | None, known: set[Key], before: list[Key | None]
) -> tuple[list[Key], str]:
    """The labels of `FILE:COLUMN`, checked against the rows and the classes of the source; and a note."""
    values, own_names = read_column(pair)
    if len(values) != len(train):
        raise InputError(f"--labels {pair} has {len(values)} rows, {train.where} has {len(train)}: row i must belong to row i")
    if names is None and own_names is None and all(isinstance(key, int) for key in known):
        values = [int(v) if isinstance(v, str) and v.strip().lstrip("-").isdigit() else v for v in values]
    elif names is not None:  # a text file writes the numbers of named classes as text
        values = [int(v) if isinstance(v, str) and v not in known and v.strip().isdigit() else v for v in values]
    keys = _keys(values, f"--labels {pair}", own_names or names)
    for row, key in enumerate(keys):
        if key not in known:
            classes = _list(sorted(known, key=str))
            raise InputError(f"row {row} of --labels {pair}: '{key}' is no class of {train.where} ({classes})")
    changed = sum(a != b for a, b in zip(keys, before, strict=True))
    note = (
        f"labels of train (and of the validation split cut from it) are those of {pair}: {changed} of {len(keys)} "
        "differ; test labels are unchanged"
    )
    return keys, note  # type: ignore[return-value]


def read_column(pair: str) -> tuple[list[Any], tuple[str, ...] | None]:
    """The values of `FILE:COLUMN` (.parquet or .csv with a header line), and class names where the file has them."""
    file, column = split_pair(pair, "--labels", "FILE:COLUMN, a .parquet or .csv file and one of its columns")
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"--labels {pair}: there is no file {path}")
    if path.suffix.lower() == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            held = reader.fieldnames or []
            if column not in held:
                raise InputError(f"--labels {pair}: {path} has no column '{column}'; it has {', '.join(held)}")
            return [line[column] for line in reader], None
    from refluence.data import columns, parquet

    features = columns.features(parquet.schema(path))
    columns.require(features, column, f"--labels {pair}", str(path))
    return parquet.column([path], column), columns.class_names(features, column)


def _list(values: Sequence[Any], most: int = 10) -> str:
    """At most ten values, and an ellipsis where there are more."""
    return ", ".join(map(str, list(values)[:most])) + (", …" if len(values) > most else "")
