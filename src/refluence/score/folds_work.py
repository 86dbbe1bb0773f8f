"""Scores out of fold as a work (work.py): a finished fold and network is a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.models import ModelSpec
from refluence.score.costs import costs
from refluence.score.crossfit import score_fold
from refluence.score.folds import assign
from refluence.score.instances import FoldScores
from refluence.score.together import Scored, together
from refluence.score.work import NUMBERS, ScoringWork, read_numbers
from refluence.score.wrong_share import wrong_share
from refluence.seeds import Rng
from refluence.work import Cost

if TYPE_CHECKING:
    from refluence.score.job import Scoring

ROWS = ("positions", "score", "phi", "loss", "suggested")
LARGEST = 2**25  # probabilities of all networks (rows x classes x nets) that are kept, 2 bytes each
Item = TypeVar("Item")


@dataclass(frozen=True)
class ScoredFold:
    """A network has scored the fold that it did not train on."""

    step: int
    fold: int
    net: int
    accuracy: float
    damping: float
    iterations: int
    residual: float
    converged: bool


def keeps(dataset: Dataset, nets: int) -> bool:
    """Whether probabilities of all rows are kept, by which the share of wrong labels is estimated."""
    return dataset.train.soft is None and len(dataset.train) * len(dataset.classes) * nets <= LARGEST


class FoldsWork(ScoringWork):
    """Networks of every fold, one after the other; each depends on the seed, its fold and its number alone."""

    def __init__(self, plan: Scoring, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute):
        super().__init__(plan, dataset, model, rng, compute)
        self.fold_of: Tensor
        train, folds = dataset.train, plan.settings.folds
        self.fold_of = assign(train.labels, folds, rng("folds", 0), train.groups, dataset.classes)
        self.parts = [(fold, net) for fold in range(folds) for net in range(plan.nets)]
        self.total, self.found = len(self.parts), dict[int, FoldScores]()
        self.keep = keeps(dataset, plan.nets)

    @property
    def step(self) -> int:
        """How many networks are done."""
        return len(self.found)

    def part(self, number: int) -> FoldScores:
        """The scores by network `number` of all; `RunError` where they are not finite: they could not be ranked."""
        (fold, net), rng, show = self.parts[number], self.rng, self.track
        streams = rng if net == 0 else lambda purpose, index=0: rng(f"{purpose}/network {net}", index)

        def track(items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
            return items if show is None else show(items, f"network {number + 1} of {self.total}, {what}", total)

        found = score_fold(
            self.dataset,
            self.model.bare,
            self.fold_of,
            fold,
            self.plan.settings,
            streams,
            self.device,
            track,
            keep=self.keep,
            compile=self.compute.compile,
            precision=self.compute.precision,
        )
        if not bool(found.score.isfinite().all()) or not bool(found.loss.isfinite().all()):
            raise RunError(f"scores of fold {fold} are not finite")
        return found

    def steps(self) -> Iterator[ScoredFold]:
        """The networks that are left."""
        for number in [n for n in range(self.total) if n not in self.found]:
            found = self.found[number] = self.part(number)
            fold, net = self.parts[number]
            yield ScoredFold(
                step=self.step - 1,
                fold=fold,
                net=net,
                accuracy=found.accuracy,
                damping=found.damping,
                iterations=found.iterations,
                residual=found.residual,
                converged=found.converged,
            )

    def costs(self) -> list[Cost]:
        """What the work takes, in all: its steps are too few to be measured."""
        return costs(self)

    def scored(self) -> Scored:
        """What the networks that are done say."""
        scored = together([self.found[number] for number in sorted(self.found)], len(self.dataset.train))
        p = self.held_out()
        return scored if p is None else replace(scored, wrong_share=wrong_share(self.dataset.train.labels, p))

    def held_out(self) -> Tensor | None:
        """Probabilities `(N, K)` of each row's classes: the mean of the networks that held it out, whichever score it.

        None before all have, for soft labels, and where they would be more than `LARGEST`.
        """
        if not self.keep or self.step < self.total:
            return None
        mean = torch.zeros(len(self.fold_of), len(self.dataset.classes))
        for number, (fold, _) in enumerate(self.parts):
            held_out = self.found[number].held_out
            assert held_out is not None, "kept"
            mean[self.fold_of == fold] += held_out.float() / self.plan.nets
        return mean

    def state(self) -> dict[str, Tensor]:
        """The scores by each network that is done, `number/name`."""
        state = {"step": torch.tensor(self.step)}
        for number, found in self.found.items():
            state |= {f"{number}/{name}": getattr(found, name) for name in ROWS}
            if found.held_out is not None:
                state[f"{number}/held_out"] = found.held_out
            state[f"{number}/numbers"] = torch.tensor([float(getattr(found, n)) for n in NUMBERS], dtype=torch.float64)
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Leave out what `state` has."""
        self.found = {}
        for number in sorted(int(name.partition("/")[0]) for name in state if name.endswith("/numbers")):
            rows = {name: state[f"{number}/{name}"] for name in (*ROWS, *(["held_out"] if self.keep else []))}
            damping, iterations, residual, converged, accuracy = read_numbers(state[f"{number}/numbers"])
            self.found[number] = FoldScores(
                **rows, damping=damping, iterations=iterations, residual=residual, converged=converged, accuracy=accuracy
            )
