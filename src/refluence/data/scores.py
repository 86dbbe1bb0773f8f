"""scores.parquet: one row a training instance that was scored, and the pictures that the report shows of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.errors import InputError
from refluence.files import replacing, write_tensors

EXTREMES = 8  # highest and lowest of each class that a page shows
FACTS = b"refluence"  # key of the schema's metadata


def write_scores(
    path: Path,
    dataset: Dataset,
    score: Tensor,
    visits: Tensor | None,
    weight: Tensor,
    loss: Tensor,
    fold: Tensor | None = None,
    suggested: Tensor | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Columns `index` (row of the stored train split), path, label, score (dM/dw), weight, loss, fold, then what is given.

    All tensors `(N,)` over `dataset.train`. Instances without a visit are left out. `fold` is null where nothing was held
    out of anything. `suggested` is the class that the model would rather give. `facts` (JSON values) go into the schema.
    """
    split = dataset.train
    seen = torch.arange(len(split)) if visits is None else visits.nonzero().flatten()
    paths = [split.paths[i] for i in seen.tolist()] if split.paths is not None else [None] * len(seen)
    columns = {
        "index": split.rows[seen].numpy(),
        "path": pa.array(paths, pa.string()),
        "label": split.labels[seen].numpy(),
        "score": score[seen].double().numpy(),
        "weight": weight[seen].double().numpy(),
        "loss": loss[seen].double().numpy(),
        "fold": pa.nulls(len(seen), pa.int64()) if fold is None else fold[seen].numpy(),
    }
    if visits is not None:
        columns["visits"] = visits[seen].numpy()
    if suggested is not None:
        columns["suggested"] = suggested[seen].numpy()
    table = pa.table(columns)
    if facts is not None:
        table = table.replace_schema_metadata({FACTS: json.dumps(facts, allow_nan=False)})
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def read_facts(path: Path) -> dict[str, Any]:
    """What `write_scores` put into the schema; `{}` where there is nothing."""
    try:
        return json.loads((pq.read_schema(path).metadata or {}).get(FACTS, b"{}"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as scores ({error}): choose another --out") from None


def extremes(dataset: Dataset, score: Tensor, visits: Tensor) -> Tensor:
    """Positions in `dataset.train` of the highest and lowest scores of each class, among those visited."""
    chosen = []
    for c in range(len(dataset.classes)):
        members = dataset.train.members(c)
        members = members[visits[members] > 0]
        order = members[score[members].argsort(descending=True)]
        chosen += [order[:EXTREMES], order[-EXTREMES:]]
    return torch.cat(chosen).unique()


@dataclass(frozen=True)
class RunScores:
    """The scores that a run measured on its way: all `(N,)` over `dataset.train`; instances without a visit are left out."""

    dataset: Dataset
    score: Tensor
    visits: Tensor
    weight: Tensor
    loss: Tensor

    def save(self, folder: Path) -> None:
        """Write `scores.parquet`, and the pictures of its extremes for the report."""
        write_scores(folder / "scores.parquet", self.dataset, self.score, self.visits, self.weight, self.loss)
        chosen = extremes(self.dataset, self.score, self.visits)
        train = self.dataset.train
        write_tensors(folder / "scores_images.safetensors", {"images": train.pictures(chosen), "rows": train.rows[chosen]})
