"""Where the training rows of a dataset are in a table that is keyed by the row of the stored split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.errors import InputError

RIGHT = "score the data that the weights are for"


def positions(source: str, index: Tensor, label: Tensor, paths: Sequence[str] | None, dataset: Dataset) -> Tensor:
    """The place of each row of `dataset.train` in a table of `source`, `(N,)`.

    `index (n,)`, `label (n,)` and `paths` are columns of the table. Rows that are in the table alone are passed over.

    Raises:
        InputError: a table of another source, of other labels or files, with a row twice, or without one of these rows.
    """
    train, here = dataset.train, dataset.source
    if Path(source).resolve() != Path(here).resolve():  # one folder may be spelled in two ways
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
    if paths is not None and train.paths is not None:
        other |= torch.tensor([paths[i] != path for i, path in zip(at.tolist(), train.paths, strict=True)], dtype=torch.bool)
    if bool(other.any()):
        row = int(train.rows[other][0])
        raise InputError(f"row {row} has another label or file in the scores than in {here}: {RIGHT}")
    return at
