"""Whether the classes of a stored test split are those of train: by name, before anything is numbered."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from refluence.data.stored import RawSplit
from refluence.errors import InputError, option

LISTED = 5


def has_labels(train: RawSplit, test: RawSplit) -> str | None:
    """None where the test split has labels, else why it has none.

    It has none where all are missing (-1 or None), or where all its pictures lie in one folder which is no class of train.
    """
    if not len(test):
        return "holds no images"
    if all(label is None or label == -1 for label in test.labels):
        return f"has no labels ({len(test)} images)"
    names, known = _names(test, train), _names(train, test)
    if len(names) == 1 and not _close(names[0], known) and all(isinstance(name, str) for name in (*names, *known)):
        return f"has no labels (all its {len(test)} images are in '{next(iter(names))}', which is no class of train)"
    return None


def agreed(train: RawSplit, test: RawSplit, name: str, unknown_ok: bool = False) -> tuple[RawSplit, list[str]]:
    """The test split with its class names as train spells them, and notes.

    Names that differ only in Unicode composition (é as one sign or as two) are one name. Errors: `InputError` where a class
    of the test split is none of train's; with `unknown_ok`, only where one of train's differs from it only by case or blanks.
    """
    known, theirs = _names(train, test), _names(test, train)
    if {type(each) for each in known} != {type(each) for each in theirs}:
        return test, []  # names beside numbers, which is refused where labels are numbered
    same, unknown = {}, [each for each in theirs if each not in known]
    for own in unknown:
        close = _close(own, known)
        equal = [each for each in close if unicodedata.normalize("NFC", each) == unicodedata.normalize("NFC", own)]
        if equal:
            same[own] = equal[0]
        elif close:
            raise InputError(
                f"the class '{own}' of the split {name} ({test.where}) is no class of train, which has '{close[0]}': spell "
                "them alike"
            )
    if (others := [str(each) for each in unknown if each not in same]) and not unknown_ok:
        raise InputError(
            f"the split {name} ({test.where}) has {len(others)} of its classes to itself ({_list(others)}; train has "
            f"{_list([str(each) for each in known])}): {option('small_classes', 'drop')} leaves them out"
        )
    if not same:
        return test, []
    names = None if test.names is None else tuple(same.get(each, each) for each in test.names)
    labels = [same.get(label, label) if isinstance(label, str) else label for label in test.labels]
    note = f"class names of the split {name} composed of other Unicode signs than in train are read as the same"
    return replace(test, labels=labels, names=names), [f"{note}: {_list(list(same))}"]


def _list(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")


def _names(stored: RawSplit, other: RawSplit) -> list[Any]:
    """The classes of a split, by name where its labels have names, sorted; nothing where labels are of no kind known here."""
    names = stored.names or other.names
    try:
        labels = {label for label in stored.labels if label is not None and label == label and label not in (-1, "")}
        found = {names[label] if names and isinstance(label, int) and label < len(names) else label for label in labels}
        return sorted(found)
    except TypeError:
        return []


def _close(name: object, known: Sequence[object]) -> list[str]:
    """Those of the known names which are the name itself, or differ only by case, blanks or Unicode composition."""
    return [each for each in known if isinstance(each, str) and plain(each) == plain(str(name))]


def plain(name: str) -> str:
    """A name without what is hard to see: case, blanks, underscores, Unicode composition."""
    return unicodedata.normalize("NFC", " ".join(name.casefold().replace("_", " ").split()))
