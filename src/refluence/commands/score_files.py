"""scores.parquet: one row a training instance that was scored, and the pictures that the report shows of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from refluence import report
from refluence.data import Dataset
from refluence.errors import InputError
from refluence.files import replacing
from refluence.influence.weighting import Weighting, parse_weighting

EXTREMES = 8  # highest and lowest of each class that a page shows
FACTS = b"refluence"  # key of the schema's metadata
READ = ("tau", "ess", "sign", "bag", "standardise", "link", "keep")  # options of the weights that mean something here


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


def read_weighting(text: str) -> Weighting:
    """`--weights KIND[:key=value,…]`; options that mean nothing for scores of a whole split are refused."""
    kind, _, tail = text.partition(":")
    pairs = [pair.partition("=") for pair in tail.split(",") if pair]
    if any(not equals or not value for _, equals, value in pairs):
        raise InputError(f"--weights {text}: options are key=value, separated by commas, like influence:tau=.5,sign=-1")
    options = {key.strip(): value.strip() for key, _, value in pairs}
    weighting = parse_weighting(kind, options)
    if idle := [key for key in options if key not in READ]:
        raise InputError(f"--weights {text}: {idle[0]} means nothing here; scores take {', '.join(READ)}")
    if weighting.prunes:
        raise InputError(f"--weights {text}: {kind} weighs nothing here; link=top or link=prune of influence keep a share")
    if kind == "difficulty":
        raise InputError(f"--weights {text}: gradient norms are not measured here; influence and loss are")
    if weighting.bag == "batch":
        raise InputError(f"--weights {text}: there are no batches; bag is class or all")
    return weighting


def extremes(dataset: Dataset, score: Tensor, visits: Tensor) -> Tensor:
    """Positions in `dataset.train` of the highest and lowest scores of each class, among those visited."""
    chosen = []
    for c in range(len(dataset.classes)):
        members = dataset.train.members(c)
        members = members[visits[members] > 0]
        order = members[score[members].argsort(descending=True)]
        chosen += [order[:EXTREMES], order[-EXTREMES:]]
    return torch.cat(chosen).unique()


def write_page(path: Path, dataset: Dataset, title: str) -> Path:
    """The page beside the scores in `path`, with the pictures that it shows taken from `dataset`; its path."""
    table = pq.read_table(path, columns=["index", "label", "score"])
    rows = report.picture_rows(*(table.column(name).to_numpy() for name in ("index", "label", "score")), first=True)
    positions = torch.searchsorted(dataset.train.rows, torch.tensor(rows, dtype=torch.int64))  # rows ascend
    images = dict(zip(rows, dataset.train.pictures(positions), strict=True))
    return report.write_scores(path, images, dataset.classes, title)
