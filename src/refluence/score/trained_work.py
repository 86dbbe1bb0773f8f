"""Scores by a network that is trained already, as a work (work.py): first a solve, then some rows a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.influence.directional import Scorer
from refluence.models import ModelSpec
from refluence.models.repeatable import refuse_random_eval
from refluence.randomness import seeded
from refluence.score.costs import costs
from refluence.score.instances import FEW, FoldScores, Measured, Rows, Solved, engine_of, measure, solve
from refluence.score.together import Scored, together
from refluence.score.work import NUMBERS, ScoringWork, read_numbers
from refluence.seeds import Rng
from refluence.work import Cost

if TYPE_CHECKING:
    from refluence.score.job import Scoring

MEASURED = ("phi", "own", "loss", "suggested")
V = "v/"  # before the names of parameters in a state


@dataclass(frozen=True)
class ScoredRows:
    """A trained network has scored so many rows (0: the curvature is solved)."""

    step: int
    rows: int
    accuracy: float


class TrainedWork(ScoringWork):
    """One trained network scores all rows, which it may have seen: first the curvature is solved, then rows, chunk by chunk."""

    checkpoint_seconds: ClassVar[float] = 10.0

    def __init__(self, plan: Scoring, dataset: Dataset, model: ModelSpec, net: nn.Module, rng: Rng, compute: Compute):
        super().__init__(plan, dataset, model, rng, compute)
        self.net = net.to(compute.device).eval()
        self.rows = torch.arange(len(dataset.train))
        self.chunks = self.rows.split(Rows(dataset, dataset.train, self.rows).chunk)
        self.total, self.measured = 1 + len(self.chunks), list[Measured]()
        self.solved: Solved | None = None
        refuse_random_eval(net, dataset.pixels(dataset.train, self.rows[:FEW], self.device))
        if plan.settings.terms != "explicit":
            # chosen on the first rows, wherever the scores go on
            engine_of(net, dataset, self.device, compile=compute.compile, precision=compute.precision)

    @property
    def step(self) -> int:
        """How many steps are done."""
        return (self.solved is not None) + len(self.measured)

    def steps(self) -> Iterator[ScoredRows]:
        """The steps that are left."""
        settings, generator = self.plan.settings, self.rng("curvature", 0)
        if self.solved is None:
            rows, track = self.rows, self.track
            with seeded(generator, self.device):
                self.solved = solve(self.net, self.dataset, rows, settings, generator, self.device, track)
            yield ScoredRows(0, 0, self.solved.accuracy)
        scorer = Scorer(self.net, compile=self.compute.compile, precision=self.compute.precision)
        for number in range(len(self.measured), len(self.chunks)):
            chunk = self.chunks[number]
            with seeded(generator, self.device):
                found = measure(scorer, self.dataset, chunk, self.solved.v, settings, self.device)
            if not all(bool(t.isfinite().all()) for t in (found.phi, found.own, found.loss)):
                raise RunError("scores are not finite")
            self.measured.append(found)
            yield ScoredRows(self.step - 1, int(chunk[-1]) + 1, self.solved.accuracy)

    def costs(self) -> list[Cost]:
        """What the work takes, in all."""
        return costs(self)

    def scored(self) -> Scored:
        """What it says of the rows that are done."""
        if self.solved is None or not self.measured:
            return together([], len(self.rows))
        parts = (torch.cat([getattr(each, name) for each in self.measured]) for name in MEASURED)
        whole, positions = Measured(*parts), self.rows[: sum(len(each.phi) for each in self.measured)]
        solved = self.solved
        found = FoldScores(
            positions=positions,
            score=whole.score(self.plan.settings.terms),
            phi=whole.phi,
            loss=whole.loss,
            suggested=whole.suggested,
            damping=solved.damping,
            iterations=solved.iterations,
            residual=solved.residual,
            converged=solved.converged,
            accuracy=solved.accuracy,
        )
        return together([found], len(self.rows))

    def state(self) -> dict[str, Tensor]:
        """The solved direction, and what has been measured."""
        state = {"step": torch.tensor(self.step)}
        if self.solved is not None:
            state |= {f"{V}{name}": t.detach().cpu() for name, t in self.solved.v.items()}
            state["numbers"] = torch.tensor([float(getattr(self.solved, n)) for n in NUMBERS], dtype=torch.float64)
        if self.measured:
            state |= {name: torch.cat([getattr(each, name) for each in self.measured]) for name in MEASURED}
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the step at which `state` was taken."""
        if "numbers" in state:
            v = {name.removeprefix(V): t.to(self.device) for name, t in state.items() if name.startswith(V)}
            self.solved = Solved(v, *read_numbers(state["numbers"]))
        if "phi" in state:
            lengths = [len(chunk) for chunk in self.chunks[: int(state["step"]) - 1]]
            parts = zip(*(state[name].split(lengths) for name in MEASURED), strict=True)
            self.measured = [Measured(*each) for each in parts]
