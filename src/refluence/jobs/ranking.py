"""The ranking of real instances that a pruned arm needs (condense/ranking.py says what it is ranked by)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.condense.loop import Distillation
from refluence.condense.ranking import Ranking
from refluence.data import Dataset
from refluence.files import Json
from refluence.influence.weighting import Weighting
from refluence.jobs.session import Session
from refluence.seeds import streams
from refluence.select.influence import STEPS as POINTS
from refluence.select.influence import influences
from refluence.select.pretrain import STEPS
from refluence.select.young_networks import losses, mean_over_networks

FULL = {"influence": POINTS, "loss": STEPS, "random": 0}  # steps of the networks, or points, that a ranking takes


@dataclass(frozen=True)
class RankingNeed:
    """A ranking as a need (needs.py)."""

    ranking: Ranking

    name: ClassVar[str] = "ranking"

    @property
    def facts(self) -> Json:
        """Everything that decides the scores beside data and machine."""
        return self.ranking.facts

    def make(self, session: Session, folder: Path | None) -> dict[str, Tensor]:
        """`scores` of every training instance."""
        return {"scores": scores(self.ranking, session.dataset, session.compute)}


def scores(ranking: Ranking, dataset: Dataset, compute: Compute) -> Tensor:
    """What instances are ranked by `(N,)`, the highest kept first: influence, minus the loss, or random numbers.

    Influence is that of the job's own method at its own initial images, at random real ones where these are noise (ours: the
    source does not say where); the loss is the mean over three networks trained on the training split
    (`select/young_networks.py`).
    """
    rng, model, steps = streams(ranking.seed), ranking.model, ranking.steps
    if ranking.by == "random":
        return torch.rand(len(dataset.train), generator=rng("prune-random", 0), dtype=torch.float64)
    if ranking.by == "loss":
        return -mean_over_networks(losses, dataset, model, rng, compute.device, steps)
    method, settings = ranking.objective
    settings = settings.with_(initial="real") if settings.initial == "noise" else settings
    start = Distillation(method, settings, Weighting(), dataset, model, rng, compute)
    return influences(start.images, start.labels, method, settings, dataset, model, rng, compute.device, steps)
