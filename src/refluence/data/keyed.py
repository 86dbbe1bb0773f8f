"""Where the training rows of a dataset are in a table that is keyed by the row of the stored split."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.data.scored_as import same_source
from refluence.errors import InputError, option

RIGHT = "score the data that the weights are for"


def positions(source: str, index: Tensor, label: Tensor, paths: Sequence[str] | None, dataset: Dataset) -> Tensor:
    """The place of each row of `dataset.train` in a table of `source`, `(N,)`.

    `index (n,)`, `label (n,)`, as indices into the classes of the dataset, and `paths` are columns of the table. Rows that are
    in the table alone are passed over.

    Raises:
        InputError: a table of another source, of other labels or files, with a row twice, or without one of these rows.
    """
    train, here = dataset.train, dataset.source
    if not same_source(source, here):
        raise InputError(f"the scores are of {source}, not of {here}: {RIGHT}")
    order = {row: place for place, row in enumerate(index.tolist())}
    if len(order) != len(index):
        raise InputError(f"the scores have {len(index) - len(order)} rows of {source} more than once: expected one line a row")
    if lacking := [row for row in train.rows.tolist() if row not in order]:
        raise InputError(
            f"the scores lack {len(lacking)} of the {len(train)} training rows of {here} (first: row {lacking[0]}): {RIGHT}"
        )
    at = torch.tensor([order[row] for row in train.rows.tolist()], dtype=torch.int64)
    other = label[at] != train.labels
    if bool(other.any()) and dataset.options.relabel is not None:
        raise InputError(
            f"{option('relabel', dataset.options.relabel)} gave some of these rows another label than they have in the scores "
            f"(first: row {int(train.rows[other][0])}): leave it out, or score the data with it"
        )
    if paths is not None and train.paths is not None:
        other |= torch.tensor([paths[i] != path for i, path in zip(at.tolist(), train.paths, strict=True)], dtype=torch.bool)
    if bool(other.any()):
        row = int(train.rows[other][0])
        raise InputError(f"row {row} has another label or file in the scores than in {here}: {RIGHT}")
    return at


def places(names: Sequence[str], classes: Sequence[str]) -> Tensor:
    """For each of a table's classes, its index in `classes`, -1 for one that is not there."""
    index = {name: place for place, name in enumerate(classes)}
    return torch.tensor([index.get(name, -1) for name in names], dtype=torch.int64)


def placed(name: str, values: Tensor, index: Tensor, place: Tensor) -> Tensor:
    """The column `name` of a table, `values (n,)` of the rows `index (n,)`, by the `place` of each of its classes.

    Raises:
        InputError: a value that is none of the table's classes.
    """
    if values.is_floating_point() or values.dtype == torch.bool:
        raise InputError(f"{name} must hold whole numbers, none missing")
    outside = (values < 0) | (values >= len(place))
    if bool(outside.any()):
        row, number = int(index[outside][0]), int(values[outside][0])
        raise InputError(f"{name} of row {row} is {number}, but there are classes 0 … {len(place) - 1}")
    return place[values.long()]
