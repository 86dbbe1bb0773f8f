"""How the data of a part are read: the part's own `source`, under what the user asks for, and what rows say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from refluence.files import Json
from refluence.options import SourceOptions
from refluence.recipes.base import Part

PAIRS = ("labels", "drop", "relabel")  # fields whose text is FILE:REST
FILE = "train.parquet"  # of labels, in the folder that is given


def reading(part: Part, given: Mapping[str, str], asked: SourceOptions) -> SourceOptions:
    """The options with which the part's set is read.

    Args:
        part: it may have a `source` of its own, with labels from a file that is one of `given`.
        given: the source of each set, and the file or folder of labels, by name.
        asked: what the user says; every value that is not the usual one comes before the part's.

    Raises:
        InputError: values of the part and of the user that mean nothing together.
    """
    own = dict(part.source)
    for name in part.wants[1:]:
        path, column = Path(given[name]).expanduser(), str(own["labels"]).partition(":")[2]
        own["labels"] = f"{path / FILE if path.is_dir() else path}:{column}"
    return replace(SourceOptions(), **{**own, **_unusual(asked)})


def said(options: SourceOptions) -> Json:
    """What a row says of how its data were read: every value that is not the usual one, files without the folders above."""
    found = _unusual(options)
    for name in found.keys() & set(PAIRS):
        file, colon, rest = str(found[name]).rpartition(":")
        found[name] = "/".join(Path(file).parts[-2:]) + colon + rest
    return found


def in_words(read: Mapping[str, object]) -> str:
    """`noise symmetric:0.4, rows 10000`."""
    return ", ".join(f"{name} {value}" for name, value in read.items())


def _unusual(options: SourceOptions) -> Json:
    usual = asdict(SourceOptions())
    return {name: value for name, value in asdict(options).items() if value != usual[name]}
