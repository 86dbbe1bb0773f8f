"""What `score` asks of its weights, and the page beside its scores."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import torch

from refluence import report
from refluence.data import Dataset
from refluence.errors import InputError
from refluence.influence.weighting import Weighting, parse_weighting

READ = ("tau", "ess", "sign", "bag", "standardise", "link", "keep")  # options of the weights that mean something here


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


def write_page(path: Path, dataset: Dataset, title: str) -> Path:
    """The page beside the scores in `path`, with the pictures that it shows taken from `dataset`; its path."""
    table = pq.read_table(path, columns=["index", "label", "score"])
    rows = report.picture_rows(*(table.column(name).to_numpy() for name in ("index", "label", "score")), first=True)
    positions = torch.searchsorted(dataset.train.rows, torch.tensor(rows, dtype=torch.int64))  # rows ascend
    images = dict(zip(rows, dataset.train.pictures(positions), strict=True))
    return report.write_scores(path, images, dataset.classes, title)
