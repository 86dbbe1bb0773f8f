"""The scores that a run measures on its way: its table, and the pictures of the highest and lowest for its page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.data.scores import ScoreTable
from refluence.files import write_tensors

EXTREMES = 8  # highest and lowest of each class that a page shows


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

    @property
    def table(self) -> ScoreTable:
        """The scores of the instances that were visited."""
        return ScoreTable.of(self.dataset, self.score, self.weight, self.loss, visits=self.visits)

    def save(self, folder: Path) -> None:
        """Write `scores.parquet`, and the pictures of its extremes for the report."""
        self.table.save(folder)
        chosen = extremes(self.dataset, self.score, self.visits)
        train = self.dataset.train
        write_tensors(folder / "scores_images.safetensors", {"images": train.pictures(chosen), "rows": train.rows[chosen]})
