"""Scores as works (work.py): of all folds, a finished fold and network a step; of a trained network, some rows a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.data.scores import ScoreTable
from refluence.errors import RunError
from refluence.files import Json
from refluence.influence.bags import bag_weights
from refluence.influence.directional import Scorer
from refluence.models import ModelSpec
from refluence.models.repeatable import refuse_random_eval
from refluence.randomness import seeded
from refluence.score.costs import costs
from refluence.score.crossfit import score_fold
from refluence.score.folds import assign
from refluence.score.instances import FEW, FoldScores, Measured, Rows, Solved, Track, engine_of, measure, solve
from refluence.score.together import Scored, together
from refluence.seeds import Rng
from refluence.work import Cost, Result

if TYPE_CHECKING:
    from refluence.score.job import Scoring

NUMBERS = ("damping", "iterations", "residual", "converged", "accuracy")
ROWS = ("positions", "score", "loss", "suggested")
MEASURED = ("phi", "own", "loss", "suggested")
V = "v/"  # before the names of parameters in a state

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


@dataclass(frozen=True)
class ScoredRows:
    """A trained network has scored so many rows (0: the curvature is solved)."""

    step: int
    rows: int
    accuracy: float


class _ScoringWork:
    """What both have: the table and the facts about it."""

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
    def step(self) -> int:
        """How many are done."""
        raise NotImplementedError

    def scored(self) -> Scored:
        """What has been scored."""
        raise NotImplementedError

    def artifact(self) -> ScoreTable:
        """The table as it stands: NaN where nothing has been scored."""
        return self._table(self.scored(), {})

    def result(self) -> Result:
        """The table and everything that decided its numbers."""
        scored = self.scored()
        facts = self.plan.facts(self.dataset, self.model, scored.found)
        return Result(self._table(scored, facts), facts)

    def _table(self, scored: Scored, facts: Json) -> ScoreTable:
        train, weight = self.dataset.train, torch.full_like(scored.score, torch.nan)
        if self.step == self.total:
            weighting, classes = self.plan.weighting, len(self.dataset.classes)
            weight = bag_weights(scored.score, scored.loss, train.labels, weighting, self.rng, classes=classes)
        more = {"fold": self.fold_of, "suggested": scored.suggested}
        return ScoreTable.of(self.dataset, scored.score, weight, scored.loss, **more, facts=facts)


class FoldsWork(_ScoringWork):
    """Networks of every fold, one after the other; each depends on the seed, its fold and its number alone."""

    def __init__(self, plan: Scoring, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute):
        super().__init__(plan, dataset, model, rng, compute)
        train, folds = dataset.train, plan.settings.folds
        self.fold_of = assign(train.labels, folds, rng("folds", 0), train.groups, dataset.classes)
        self.parts = [(fold, net) for fold in range(folds) for net in range(plan.nets)]
        self.total, self.found = len(self.parts), dict[int, FoldScores]()

    @property
    def step(self) -> int:
        """How many networks are done."""
        return len(self.found)

    def part(self, number: int) -> FoldScores:
        """The scores by network `number` of all; `RunError` where they are not finite: they could not be ranked."""
        (fold, net), rng, show = self.parts[number], self.rng, self.track
        streams = rng if net == 0 else lambda purpose, index=0: rng(f"{purpose}/network {net}", index)
        assert self.fold_of is not None, "made with the work"

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
        return together([self.found[number] for number in sorted(self.found)], len(self.dataset.train))

    def state(self) -> dict[str, Tensor]:
        """The scores by each network that is done, `number/name`."""
        state = {"step": torch.tensor(self.step)}
        for number, found in self.found.items():
            state |= {f"{number}/{name}": getattr(found, name) for name in ROWS}
            state[f"{number}/numbers"] = torch.tensor([float(getattr(found, n)) for n in NUMBERS], dtype=torch.float64)
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Leave out what `state` has."""
        self.found = {}
        for number in sorted(int(name.partition("/")[0]) for name in state if name.endswith("/numbers")):
            positions, score, loss, suggested = (state[f"{number}/{name}"] for name in ROWS)
            self.found[number] = FoldScores(positions, score, loss, suggested, *_read(state[f"{number}/numbers"]))


class TrainedWork(_ScoringWork):
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
            self.solved = Solved(v, *_read(state["numbers"]))
        if "phi" in state:
            lengths = [len(chunk) for chunk in self.chunks[: int(state["step"]) - 1]]
            parts = zip(*(state[name].split(lengths) for name in MEASURED), strict=True)
            self.measured = [Measured(*each) for each in parts]


def _read(numbers: Tensor) -> tuple[float, int, float, bool, float]:
    """What `NUMBERS` of a state hold."""
    damping, iterations, residual, converged, accuracy = numbers.tolist()
    return damping, int(iterations), residual, bool(converged), accuracy
