"""A validation split from another source (`--validation SRC`): its classes are matched with those of train by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from refluence.data.agreement import plain
from refluence.data.labels import class_keys, few
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option


def matched(stored: RawSplit, classes: Sequence[str], train: RawSplit, source: str) -> tuple[np.ndarray, list[str]]:
    """Indices into `classes` `(N,)` of the rows of `stored`, -1 where a row has no label or is of no class of train; and notes.

    A whole number is the class that is called like it. Where no class is, and only train has names, numbers are positions
    among these. Errors: `InputError` where no class is shared, or one differs from train's only by case or blanks.
    """
    index = {_composed(name): position for position, name in enumerate(classes)}
    keys = class_keys(stored.labels, stored.where, stored.names)
    if "-1" not in index:
        keys = [None if key == -1 else key for key in keys]
    labelled = [key for key in keys if key is not None]
    if not labelled:
        raise InputError(f"{option('validation', source)} has no labels ({len(keys)} images)")
    own, notes = set(map(str, labelled)), list[str]()
    if not any(_composed(name) in index for name in own) and train.names and not stored.names:
        numbers = [key for key in labelled if isinstance(key, int)]
        if len(numbers) == len(labelled) and max(numbers) < len(train.names) and (first := min(numbers)) >= 0:
            keys = [None if key is None else train.names[int(key)] for key in keys]
            own = {str(key) for key in keys if key is not None}
            meaning = f"{first} is '{train.names[first]}'"
            notes.append(f"labels of {source} are numbers: they are read as positions in train's classes ({meaning})")
    for name in sorted(own):
        close = [] if _composed(name) in index else [other for other in classes if plain(other) == plain(name)]
        if close:
            raise InputError(
                f"the class '{name}' of {option('validation', source)} is no class of train, which has '{close[0]}': "
                "spell them alike"
            )
    unknown = sorted(name for name in own if _composed(name) not in index)
    if len(unknown) == len(own):
        raise InputError(
            f"{option('validation', source)} has no class of train: it has {few(unknown)}, train has {few(classes)}; "
            "classes are "
            "matched by name"
        )
    positions = [-1 if key is None else index.get(_composed(str(key)), -1) for key in keys]
    if missing := len(keys) - len(labelled):
        notes.append(f"{missing} of {len(keys)} images of {source} have no label: they are left out")
    if unknown:
        count = sum(position < 0 for position in positions) - missing
        notes.append(f"{count} of {len(keys)} images of {source} are of no class of train ({few(unknown)}): they are left out")
    return np.array(positions, np.int64), notes


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
