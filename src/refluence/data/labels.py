"""From raw labels (names, integers, other people's votes) to class indices 0 … K-1 that all splits share."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from refluence.data.agreement import plain
from refluence.data.label_file import read_column
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option

Key = str | int
WRITTEN_FOR_MISSING = ("nan", "NaN", "None", "null", "NULL", "<NA>", "N/A", "#N/A", "NaT", "-1", "-1.0")
WHOLE = re.compile(r"-?\d{1,18}(\.0*)?")


@dataclass(frozen=True)
class Labels:
    """`classes` (K names); `train (N,)`, `stored (N,)` and those of each split in `held` are int64 indices into them.

    `stored` are train's labels before `--labels`, for a test split that is cut from it, the others where it has none. -1 is no
    class: such a row is left out. `beside` says whether `--labels` replaced any label at all.
    """

    classes: tuple[str, ...]
    train: np.ndarray
    stored: np.ndarray
    held: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()
    beside: bool = False


def resolve(train: RawSplit, held: Mapping[str, RawSplit], replacement: str | None = None) -> Labels:
    """Class indices of train and of the splits beside it. `replacement` (`FILE:COLUMN`) relabels the stored train split.

    Strings are sorted; integers keep their order, and their names where the source has them. Classes without a single
    row are left out and the rest is numbered anew. Rows of a stored validation split that have no label are left out. Errors:
    a missing label elsewhere, a label that is no class, fractions, names beside numbers, and a labels file of another length.
    """
    beside = {name: held[name] for name in ("test", "val") if name in held}
    names = next((split.names for split in (train, *beside.values()) if split.names), None)
    stored = class_keys(train.labels, train.where, train.names or names)
    theirs = {name: class_keys(split.labels, split.where, split.names or names) for name, split in beside.items()}
    hint = ""
    if _minus_one_is_missing(stored, [key for keys in theirs.values() for key in keys]):
        stored = [None if key == -1 else key for key in stored]
        theirs = {name: [None if key == -1 else key for key in keys] for name, keys in theirs.items()}
        hint = " (-1 marks a missing label, but for the two classes -1 and 1; where it is a class, store names)"
    if replacement is None:
        _refuse_missing(stored, train.where, hint)
    if "test" in beside:
        _refuse_missing(theirs["test"], beside["test"].where, hint)
    others = [key for keys in theirs.values() for key in keys if key is not None]
    known = {key for key in (*stored, *others) if key is not None} | set(names or ())
    ours, notes = stored, list[str]()
    if replacement:
        ours, notes = _replaced(replacement, train, names, known, stored, "val" in beside)
    if missing := theirs.get("val", []).count(None):
        notes.append(f"{missing} of {len(beside['val'])} images of {beside['val'].where} have no label: they are left out")
    replaced = replacement is not None and any(key is not None for key in stored)
    stored = [new if old is None else old for old, new in zip(stored, ours, strict=True)]
    used = {*ours, *others, *(() if "test" in beside else stored)}
    if len({type(key) for key in used}) > 1:
        both = [split.where for split in beside.values()] or [replacement or ""]
        raise InputError(f"labels of {train.where} and {' or '.join(both)} mix names and numbers")
    listed = [name for split in beside.values() for name in split.names or ()]
    order = {name: index for index, name in enumerate(dict.fromkeys([*(names or ()), *listed]))}
    keys = sorted(used, key=(lambda key: order[key]) if order else None)
    index = {key: position for position, key in enumerate(keys)}
    if len(keys) < 2:
        raise InputError(f"{train.where} has {len(keys)} class ({', '.join(map(str, keys))}): at least 2 are needed")
    notes += [*_alike([str(key) for key in keys]), *_look_missing(used, [*stored, *others])]
    if unused := [name for name in order if name not in used]:
        notes.append(f"classes without any image are left out: {few(unused)}")

    def numbered(side: Sequence[Key | None]) -> np.ndarray:
        return np.fromiter((index.get(key, -1) for key in side), np.int64, len(side))

    found = {name: numbered(side) for name, side in theirs.items()}
    return Labels(tuple(map(str, keys)), numbered(ours), numbered(stored), found, tuple(notes), replaced)


def _minus_one_is_missing(train: Sequence[Key | None], test: Sequence[Key | None]) -> bool:
    """Whether -1 marks rows without a label: it is the one number below 0, and no class of a pair -1 and 1."""
    used = {*train, *test} - {None}
    numbers = {key for key in used if isinstance(key, int)}
    if numbers != used or min(numbers, default=0) != -1:
        return False
    return numbers != {-1, 1} or -1 not in train


def _alike(classes: Sequence[str]) -> list[str]:
    """A line on classes whose names differ by what is hard to see."""
    first: dict[str, str] = {}
    pairs = [(first[plain(name)], name) for name in classes if first.setdefault(plain(name), name) != name]
    if not pairs:
        return []
    listed = few([f"{one!a} and {other!a}" for one, other in pairs])
    return [f"classes whose names differ by case, blanks or Unicode composition alone are kept apart: {listed}"]


def _look_missing(used: set[Key], labels: Sequence[Key | None]) -> list[str]:
    """A line on names that a program may have written for a missing label. They may be meant: a defect called None."""
    if not (found := sorted(name for name in used if isinstance(name, str) and name in WRITTEN_FOR_MISSING)):
        return []
    listed = few([f"'{name}' ({labels.count(name)} images)" for name in found])
    return [f"{listed}: kept as a class, though programs write this for a missing label; remove those rows if it is none"]


def class_keys(values: Sequence[object], where: str, names: tuple[str, ...] | None) -> list[Key | None]:
    """Each raw label as a class name (where integers have names) or as the integer or string it is, None where missing."""
    keys: list[Key | None] = []
    memory: dict[object, Key | None] = {}
    for row, value in enumerate(values):
        try:
            key = memory[value]
        except KeyError:
            key = memory[value] = _key(value, row, where, names)
        except TypeError:
            raise InputError(f"row {row} of {where}: label {value!r} is neither a number nor a name") from None
        keys.append(key)
    return keys


def _refuse_missing(keys: Sequence[Key | None], where: str, hint: str = "") -> None:
    """Rows without a label are not passed over in silence."""
    if missing := [row for row, key in enumerate(keys) if key is None]:
        raise InputError(
            f"{where}: {len(missing)} of {len(keys)} labels are missing (rows {few(missing)}); "
            f"remove those rows, or give labels with {option('labels')}{hint}"
        )


def _key(value: object, row: int, where: str, names: tuple[str, ...] | None) -> Key | None:
    if value is None or value == "" or (isinstance(value, (float, Decimal)) and math.isnan(value)):
        return None
    if isinstance(value, (bool, np.bool_)):
        value = int(value)
    if isinstance(value, (float, np.floating, Decimal)):
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
            raise InputError(f"row {row} of {where}: label {value} is outside 0 … {len(names) - 1} ({few(names)})")
        return names[value]
    if isinstance(value, str):
        return value
    raise InputError(f"row {row} of {where}: label {value!r} is neither a number nor a name")


def _replaced(
    pair: str, train: RawSplit, names: tuple[str, ...] | None, known: set[Key], before: list[Key | None], own_val: bool
) -> tuple[list[Key | None], list[str]]:
    """The labels of `FILE:COLUMN`, none missing, checked against the rows and the classes of the source; and notes."""
    column = read_column(pair, train)
    spelled: dict[str, Key] = {}
    for key in sorted(known, key=str):
        spelled.setdefault(unicodedata.normalize("NFC", str(key)), key)
    values = [_meant(value, spelled) if isinstance(value, str) and value not in known else value for value in column.values]
    keys = class_keys(values, column.where, column.names or names)
    _refuse_missing(keys, column.where)
    keys = [key if key is None or key in known else spelled.get(str(key), key) for key in keys]
    for row, found in enumerate(keys):
        if found not in known:
            classes = few(sorted(known, key=str))
            raise InputError(f"row {row} of {column.where}: '{found}' is no class of {train.where} ({classes})")
    changed = sum(a != b for a, b in zip(keys, before, strict=True))
    what, kept = ("", "validation and test") if own_val else (" (and of the validation split cut from it)", "test")
    note = f"labels of train{what} are those of {pair}: {changed} of {len(keys)} differ; {kept} labels are unchanged"
    return keys, [*([column.note] if column.note else []), note]


def _meant(value: str, spelled: Mapping[str, Key]) -> Key:
    """Text as the class that it spells, whatever its blanks and accents are made of; whole numbers (`1.0` too) as such."""
    text = unicodedata.normalize("NFC", value.strip())
    if text in spelled:
        return spelled[text]
    return int(float(text)) if WHOLE.fullmatch(text) else text


def few(values: Sequence[object], most: int = 10) -> str:
    """At most ten values, and an ellipsis where there are more."""
    return ", ".join(map(str, list(values)[:most])) + (", …" if len(values) > most else "")
