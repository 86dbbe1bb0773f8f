"""The scores that a run measures on its way: its table, and the pictures of the highest and lowest for its page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.data.scores import ScoreTable
from refluence.files import write_json, write_tensors

EXTREMES = 8  # highest and lowest of each class that a page shows
HIGHEST = 24  # of all classes


def extremes(dataset: Dataset, score: Tensor, visits: Tensor) -> Tensor:
    """Positions in `dataset.train` of the highest and lowest scores of each class, among those visited."""
    chosen = []
    for c in range(len(dataset.classes)):
        members = dataset.train.members(c)
        members = members[visits[members] > 0]
        order = members[score[members].argsort(descending=True)]
        chosen += [order[:EXTREMES], order[-EXTREMES:]]
    return torch.cat(chosen).unique()


def highest(score: Tensor, visits: Tensor) -> Tensor:
    """Positions `(n,)` of the highest scores of all classes, among those visited."""
    visited = visits.nonzero().flatten()
    return visited[score[visited].argsort(descending=True)[:HIGHEST]]


@dataclass(frozen=True)
class Shown:
    """The instances at `positions (n,)` of `dataset.train` for a page beside their scores: pictures, or texts to be read."""

    dataset: Dataset
    positions: Tensor

    def save(self, folder: Path) -> None:
        """Write `scores_images.safetensors`, or `scores_texts.json` by row of the stored split."""
        train, chosen = self.dataset.train, self.positions
        if train.texts is None:
            pictures = {"images": train.pictures(chosen), "rows": train.rows[chosen]}
            write_tensors(folder / "scores_images.safetensors", pictures)
        else:
            texts = {str(int(train.rows[at])): train.texts[at] for at in chosen.tolist()}
            write_json(folder / "scores_texts.json", texts)


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
        Shown(self.dataset, extremes(self.dataset, self.score, self.visits)).save(folder)
