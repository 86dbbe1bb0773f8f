"""Pictures of a few instances that an arm left out or relabelled before its run, for its page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from refluence.data.clean import LABELLED, LABELS, ROWS, relabelled
from refluence.data.dataset import Dataset
from refluence.files import write_tensors

FILE = "cleaned_images.safetensors"
SHOWN = 24


def save(dataset: Dataset, found: Mapping[str, Tensor], folder: Path, sign: int = 1) -> None:
    """Write them to `cleaned_images.safetensors`; nothing where no row was left out or got another label.

    `found`: what was done to the rows (clean.py), with `scores (N,)`, the highest sign * score are best. The worst of each
    class are taken.
    The file holds `images (P, C, H, W)` uint8, their `rows`, the `labels` before, the ones after (`to`), and the label of the
    source (`stored`, -1 where it is not known).
    """
    train = dataset.train
    after = relabelled(train, found[LABELLED], found[LABELS]).labels if LABELLED in found else train.labels
    changed = after != train.labels
    changed = changed | ~torch.isin(train.rows, found[ROWS]) if ROWS in found else changed
    each, chosen = max(1, SHOWN // len(dataset.classes)), []
    for label in range(len(dataset.classes)):
        members = train.members(label)
        members = members[changed[members]]
        chosen.append(members[(sign * found["scores"][members]).argsort(stable=True)[:each]])
    at = torch.cat(chosen)[:SHOWN]
    if not len(at):
        return
    rows, labels, to = train.rows[at], train.labels[at], after[at]
    stored = torch.full_like(labels, -1) if train.stored is None else train.stored[at]
    write_tensors(folder / FILE, {"images": train.pictures(at), "rows": rows, "labels": labels, "to": to, "stored": stored})
