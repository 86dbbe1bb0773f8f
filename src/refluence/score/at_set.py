"""Influence on a distilled set as a job: which real instances drive the objective of a finished set (IWD eq. 24).

The set is held fixed and is one of the job's needs; all of the training split is scored, the whole class at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import ClassVar

import torch
from torch import Tensor

from refluence.arm import Arm, read_arm
from refluence.compute import Compute
from refluence.condense.engine import engine
from refluence.condense.method import Method, Settings
from refluence.condense.scoring import influence, points
from refluence.data.dataset import Dataset
from refluence.data.distilled import DistilledSet
from refluence.data.scores import ScoreTable
from refluence.errors import InputError
from refluence.files import Json
from refluence.influence.bags import bag_weights
from refluence.influence.distillation import RunningInfluence
from refluence.influence.weighting import BY_INFLUENCE, Weighting
from refluence.models import ModelSpec
from refluence.score.instances import Track
from refluence.seeds import Rng, streams
from refluence.work import Cost, Event, Prepared, Result

KEY = "at_set"  # in JSON, what tells these plans from others
NETS = 3


@dataclass(frozen=True)
class ScoringSet:
    """Everything that decides the influence on a distilled set beside the set, seed and network, resolved.

    `arm`, `method` and `settings`: those that made the set. `nets`: networks that it is taken at, from their start on.
    """

    arm: Arm
    method: Method
    settings: Settings
    weighting: Weighting
    nets: int = NETS

    family: ClassVar[str] = "score"
    ranking: ClassVar[str | None] = None

    def remarks(self, dataset: Dataset, model: ModelSpec, seed: int, compute: Compute) -> list[str]:
        """What is worth a line before the run: the engine of the influence."""
        return [engine(self.method, self.settings, dataset, model, streams(seed), compute)]

    def open(self, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, prepared: Prepared) -> ScoringSetWork:
        """The work before it is done. `prepared`: the tensors of the set, as `needs_of` gives them."""
        return ScoringSetWork(self, dataset, model, rng, compute, prepared.tensors)

    def to_json(self) -> Json:
        """Plain values, as config.json would keep them."""
        own = {"arm": self.arm.name, "settings": asdict(self.settings), "weighting": asdict(self.weighting), "nets": self.nets}
        return {KEY: own}


def weighting_beside(own: Weighting, asked: Weighting | None) -> Weighting:
    """Those that are asked for, else the influence weights of the run, else influence with the run's options."""
    return asked or (own if own.kind in BY_INFLUENCE else own.even.with_(kind="influence"))


def needs_of(small: DistilledSet) -> Prepared:
    """What is scored against."""
    found = {"images": small.images, "labels": small.labels}
    if small.soft is not None:
        found["soft"] = small.soft
    if small.lr is not None:
        found["lr"] = torch.tensor(small.lr, dtype=torch.float64)
    return Prepared(found)


def plan_from(stored: Json, methods: Mapping[str, object]) -> ScoringSet:
    """The plan that `ScoringSet.to_json` wrote."""
    own = stored[KEY]
    arm = read_arm(own["arm"])
    if not isinstance(method := methods.get(arm.method), Method):
        raise InputError(f"the set was made by the method '{arm.method}', which this Refluence does not have")
    weighting: Json = {k: math.inf if v == "inf" else v for k, v in own["weighting"].items()}
    return ScoringSet(arm, method, Settings(**own["settings"]), Weighting(**weighting), own["nets"])


class ScoringSetWork:
    """Nothing to step through between which it could be stopped: the result is all of it."""

    total: int = 0
    step: int = 0
    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = ""
    checkpoint_seconds: ClassVar[float] = 10.0
    track: Track | None = None

    def __init__(
        self, plan: ScoringSet, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, small: Mapping[str, Tensor]
    ):
        self.plan, self.dataset, self.model, self.rng, self.small = plan, dataset, model, rng, small
        self.device = compute.device

    def steps(self) -> Iterator[Event]:
        """None."""
        return iter(())

    def state(self) -> dict[str, Tensor]:
        """None."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Nothing to restore."""

    def measure(self, count: int | None = None) -> tuple[RunningInfluence, Tensor]:
        """The influence at the first `count` points (None: all), and losses `(N,)`."""
        small, plan = self.small, self.plan

        def some(where: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
            few = list(islice(where, count))
            yield from few if self.track is None else self.track(few, "scoring", len(few))

        _, table, losses = influence(
            small["images"], small["labels"], plan.method, plan.settings, self.dataset, self.model, self.rng,
            nets=plan.nets, whole=True, device=self.device, track=some, soft=small.get("soft"),
            lr=float(small["lr"]) if "lr" in small else None,
        )  # fmt: skip
        return table, losses

    def costs(self) -> list[Cost]:
        """What the work takes."""

        def some(count: int) -> None:
            self.measure(count)

        return [Cost("points", len(points(self.plan.nets, self.plan.settings.outer)), some)]

    def artifact(self) -> ScoreTable:
        """The table before anything is scored."""
        nothing = torch.full((len(self.dataset.train),), torch.nan)
        return ScoreTable.of(self.dataset, nothing, nothing, nothing, visits=torch.ones(len(nothing), dtype=torch.int64))

    def result(self) -> Result:
        """The table and what decided its numbers."""
        table, losses = self.measure()
        dataset, plan = self.dataset, self.plan
        labels, classes = dataset.train.labels, len(dataset.classes)
        weight = bag_weights(table.raw, losses, labels, plan.weighting, self.rng, classes=classes)
        facts = {
            "kind": "distilled",
            "source": dataset.source,
            "classes": list(dataset.classes),
            "arm": plan.arm.name,
            "nets": plan.nets,
        }
        return Result(ScoreTable.of(dataset, table.raw, weight, losses, visits=table.visits, facts=facts), facts)
