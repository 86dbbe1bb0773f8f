"""`--relabel scores.parquet:share`: the training instances with the highest score get the class that networks suggest.

The networks are those of `refluence score`, which held the instance out. Where they suggest the label that it has, it keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from refluence.data import columns, keyed, parquet
from refluence.data.score_file import Harmful, harmful, whole_numbers
from refluence.data.scores import read_facts
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option
from refluence.options import SourceOptions


def relabelled(
    options: SourceOptions, rows: np.ndarray, labels: np.ndarray, classes: Sequence[str], train: RawSplit
) -> tuple[np.ndarray, str]:
    """Labels `(N,)` of the training `rows (N,)`, which had `labels (N,)`, as indices into `classes`; and a note.

    The table has the columns `suggested` and `label`, as indices into the classes that it names. Its labels must be those that
    the rows have here, so that the scores speak of them, and every row of a class that it names must have a score. Rows that
    `skip_corrupt` is about to leave out need none.
    """
    found = harmful("relabel", str(options.relabel), rows, train)
    features = columns.features(parquet.schema(found.path))
    if absent := [name for name in ("suggested", "label") if name not in features]:
        raise InputError(
            f"{found.said}: {found.path} has no column {absent[0]}; `refluence score` against validation data writes it"
        )
    place = _places(found, classes)
    suggested, label = (_by_row(found, name, place) for name in ("suggested", "label"))
    scored = np.isin(rows, found.scored)
    _refuse_other_labels(found, rows[scored], labels[scored], label, classes, train)
    without = int((~scored & np.isin(labels, place)).sum())
    if without and not options.skip_corrupt:
        raise InputError(
            f"{found.said}: {without} of {len(rows)} training images have no score there; score the source again, with the "
            "options that it is read with here"
        )
    chosen = np.isin(rows, found.worst)
    after = labels.copy()
    after[chosen] = [suggested[row] for row in rows[chosen].tolist()]
    note = (
        f"{option('relabel')} gave {int((after != labels).sum())} of {len(rows)} training images another label, which networks "
        f"suggest: of the {found.share:.3g} with the highest score in {found.path} ({len(found.worst)})"
    )
    return after, note


def refuse_soft(train: RawSplit, options: SourceOptions) -> None:
    """`InputError` for a distilled set with soft labels, which would stay as they are."""
    if options.relabel is not None and train.soft is not None:
        raise InputError(f"{option('relabel')}: {train.where} has soft labels, which would stay as they are: leave it out")


def _places(found: Harmful, classes: Sequence[str]) -> np.ndarray:
    """For each class of the table, its index in `classes`; a table that names none has the same."""
    names = read_facts(found.path).get("classes", list(classes))
    place = keyed.places(names, classes).numpy()
    if absent := [name for name, here in zip(names, place >= 0, strict=True) if not here]:
        raise InputError(
            f"{found.said}: '{absent[0]}' is a class there and none of the source ({', '.join(list(classes)[:10])}); were the "
            "scores made from this source?"
        )
    return place


def _by_row(found: Harmful, name: str, place: np.ndarray) -> dict[int, int]:
    """A column of classes, as indices into those of the source, by row."""
    numbers = whole_numbers(found, name)
    rows, values = (torch.tensor(list(each), dtype=torch.int64) for each in (numbers, numbers.values()))
    try:
        here = keyed.placed(name, values, rows, torch.from_numpy(place))
    except InputError as error:
        raise InputError(f"{found.said}: {error}") from None
    return dict(zip(rows.tolist(), here.tolist(), strict=True))


def _refuse_other_labels(
    found: Harmful, rows: np.ndarray, labels: np.ndarray, theirs: dict[int, int], classes: Sequence[str], train: RawSplit
) -> None:
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        if theirs[row] != label:
            raise InputError(
                f"{found.said}: {train.describe(row)} is '{classes[theirs[row]]}' there and '{classes[label]}' here: the "
                f"scores are of another source or of other labels ({option('labels')}, {option('noise')}): score this one"
            )
