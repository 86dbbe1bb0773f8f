"""scores.parquet: one row a training instance that was scored, and the pictures that the report shows of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from refluence.data import Dataset
from refluence.files import replacing
from refluence.influence.distillation import RunningInfluence
from refluence.influence.weighting import Weighting, weights

EXTREMES = 8  # highest and lowest of each class that a page shows


def write_scores(path: Path, dataset: Dataset, score: Tensor, visits: Tensor, weight: Tensor, loss: Tensor) -> None:
    """Columns `index` (row of the stored train split), path, label, score (dM/dw), weight, loss, fold, visits.

    All arguments `(N,)` over `dataset.train`; instances without a visit are left out. `fold` is null: nothing was held
    out of anything.
    """
    seen = visits.nonzero().flatten()
    split = dataset.train
    paths = [split.paths[i] for i in seen.tolist()] if split.paths is not None else [None] * len(seen)
    table = pa.table(
        {
            "index": split.rows[seen].numpy(),
            "path": pa.array(paths, pa.string()),
            "label": split.labels[seen].numpy(),
            "score": score[seen].double().numpy(),
            "weight": weight[seen].double().numpy(),
            "loss": loss[seen].double().numpy(),
            "fold": pa.nulls(len(seen), pa.int64()),
            "visits": visits[seen].numpy(),
        }
    )
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def class_weights(dataset: Dataset, table: RunningInfluence, weighting: Weighting, rng) -> Tensor:
    """The weights `(N,)` that the influence in `table` comes to with each class as one bag; 1 where there was no visit."""
    weight = torch.ones(len(dataset.train), dtype=torch.float64)
    for c in range(len(dataset.classes)):
        members = dataset.train.members(c)
        members = members[table.visits[members] > 0]
        weight[members] = weights(table.raw[members], weighting, rng("class-weights", c))
    return weight


def extremes(dataset: Dataset, score: Tensor, visits: Tensor) -> Tensor:
    """Positions in `dataset.train` of the highest and lowest scores of each class, among those visited."""
    chosen = []
    for c in range(len(dataset.classes)):
        members = dataset.train.members(c)
        members = members[visits[members] > 0]
        order = members[score[members].argsort(descending=True)]
        chosen += [order[:EXTREMES], order[-EXTREMES:]]
    return torch.cat(chosen).unique()
