"""What the works of scores (work.py) have in common: the table that they end with, and numbers in a state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.data.scores import ScoreTable
from refluence.files import Json
from refluence.influence.bags import bag_weights
from refluence.models import ModelSpec
from refluence.score.instances import Track
from refluence.score.together import Scored
from refluence.seeds import Rng
from refluence.work import Result

if TYPE_CHECKING:
    from refluence.score.job import Scoring

NUMBERS = ("damping", "iterations", "residual", "converged", "accuracy")


class ScoringWork(ABC):
    """A work of scores: it ends with the table and the facts about it."""

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "A larger damping, or a smaller lr, may help, in a new run"
    checkpoint_seconds: ClassVar[float] = 0.0
    total: int
    track: Track | None = None
    fold_of: Tensor | None = None

    def __init__(self, plan: Scoring, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute):
        self.plan, self.dataset, self.model, self.rng, self.device = plan, dataset, model, rng, compute.device
        self.compute = compute

    @property
    @abstractmethod
    def step(self) -> int:
        """How many are done."""

    @abstractmethod
    def scored(self) -> Scored:
        """What has been scored."""

    def artifact(self) -> ScoreTable:
        """The table as it stands: NaN where nothing has been scored."""
        return self._table(self.scored(), {})

    def result(self) -> Result:
        """The table and everything that decided its numbers."""
        scored = self.scored()
        facts = {**self.plan.facts(self.dataset, self.model, scored.found), "wrong_share": scored.wrong_share}
        return Result(self._table(scored, facts), facts)

    def _table(self, scored: Scored, facts: Json) -> ScoreTable:
        train, weight = self.dataset.train, torch.full_like(scored.score, torch.nan)
        if self.step == self.total:
            weighting, classes = self.plan.weighting, len(self.dataset.classes)
            weight = bag_weights(scored.score, scored.loss, train.labels, weighting, self.rng, classes=classes)
        more = {"fold": self.fold_of, "suggested": scored.suggested}
        return ScoreTable.of(self.dataset, scored.score, weight, scored.loss, **more, facts=facts)


def read_numbers(numbers: Tensor) -> tuple[float, int, float, bool, float]:
    """What `NUMBERS` of a state hold."""
    damping, iterations, residual, converged, accuracy = numbers.tolist()
    return damping, int(iterations), residual, bool(converged), accuracy
