"""A selection as a job: what its arm may say, its plan with every default resolved, and the work that the plan opens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from refluence.arm import Arm
from refluence.compute import Compute
from refluence.condense.ranking import Ranking, Table, ranks_by, table_from
from refluence.data import Dataset, clean
from refluence.data.allocation import counts_of
from refluence.data.distilled import DistilledSet
from refluence.files import Json
from refluence.influence.weighting import KINDS, Weighting
from refluence.models import ModelSpec
from refluence.options import JobOptions
from refluence.seeds import Rng
from refluence.select.arms import OBJECTIVE, VALIDATION, check, own_keys, read, weighting_of
from refluence.select.chosen import check_chosen
from refluence.select.selection import Selection
from refluence.select.tiles import check_room, tiled
from refluence.work import Cost, Event, Prepared, Result, Work

__all__ = ["Selecting", "check", "own_keys", "plan", "plan_from"]


@dataclass(frozen=True)
class Selecting:
    """Everything that decides a selection beside its seed and network, resolved."""

    selection: Selection
    arm: Arm
    ipc: int
    asked_allocation: str | None = None  # None: equal
    factor: int = 1  # factor^2 reduced real images in the room of one
    steps: int | None = None  # of its own networks; None: their default
    weighting: Weighting = field(default_factory=Weighting)
    ranking_steps: int | None = None  # of what ranks instances beforehand; None: its default
    table: Table | None = None  # of scores that the arm goes by, if any
    on: str = OBJECTIVE  # what the influence of the selection by influence is on

    iterations: ClassVar[int] = 0
    artifact: ClassVar[type[DistilledSet]] = DistilledSet
    family: ClassVar[str] = "select"
    objective: ClassVar[None] = None

    @property
    def declared(self) -> Selection:
        """The method."""
        return self.selection

    @property
    def allocation(self) -> str:
        """Images per class: equal or proportional."""
        return self.asked_allocation or "equal"

    @property
    def summary(self) -> tuple[str, str]:
        """The method in words, for the card."""
        chosen = "real images that lower the risk on validation images most"
        return chosen if self.by_scores else self.selection.summary, KINDS[self.weighting.kind]

    @property
    def usual_steps(self) -> int:
        """Steps of its own networks where no other number is asked for."""
        return self.selection.steps

    @property
    def ranking(self) -> str | None:
        """What real instances are ranked by before the selection; None where they are not, or by a table of scores."""
        return ranks_by(self.weighting)

    def ranked(self, model: ModelSpec, seed: int) -> Ranking | None:
        """The ranking that the arm needs before it selects, if any."""
        by = self.ranking
        return None if by is None else Ranking(by, None, model, seed, self.ranking_steps)

    def for_data(self, dataset: Dataset) -> Selecting:
        """The same; where validation data come from elsewhere, they decide what has influence unless the arm says otherwise."""
        asked = read(self.arm, self.selection)
        decides = dataset.validated_elsewhere and "on" in self.selection.options and not {"on", "easiest"} & asked.keys()
        return replace(self, on=VALIDATION) if decides else self

    def in_steps(self, own: int | None, ranking: int | None) -> Selecting:
        """The same with that many steps of its own networks, and of what ranks its instances, where there are such."""
        steps = self.steps if self.steps is not None or own is None else own
        return replace(self, steps=steps, ranking_steps=ranking)

    def with_table(self, table: Table) -> Selecting:
        """The same by this table of scores, if it goes by any."""
        return replace(self, table=table) if self.weighting.by_table or self.by_scores else self

    @property
    def by_scores(self) -> bool:
        """Whether it selects by the influence on validation risk."""
        return self.on == VALIDATION

    def order(
        self, images: Tensor, labels: Tensor, dataset: Dataset, model: ModelSpec, rng: Rng, device: torch.device, nets: int
    ) -> Tensor | None:
        """None: a selection has no distance on which its images have influence."""
        return None

    def with_iterations(self, iterations: int, size: str) -> Selecting:
        """The same: a selection has no image steps."""
        return self

    def unweighted(self) -> Selecting:
        """The same with uniform weights."""
        return replace(self, weighting=self.weighting.even)

    def shortened(self, steps: int, real_batch: int) -> Selecting:
        """The same with that many steps of its networks: does it start?"""
        table = None if self.table is None else replace(self.table, epochs=1)
        return replace(self, steps=steps, ranking_steps=steps if self.ranking else None, table=table)

    def steady(self) -> Selecting:
        """The same: there are no steps to estimate by."""
        return self

    @property
    def formation(self) -> int:
        """Each stored image holds formation^2 of them."""
        return self.factor

    @property
    def real_each(self) -> int:
        """Real images that each stored one takes of a class."""
        return self.factor**2

    def ahead(self, work: Work) -> list[Cost]:
        """Nothing beside the result."""
        return []

    def check_data(self, dataset: Dataset, counts: tuple[int, ...]) -> None:
        """`NoRoomError` where a class has too few images."""
        keep = self.weighting.keep
        if self.factor > 1:
            check_room(dataset, counts, self.factor)
        if self.weighting.prunes and not isinstance(keep, str):
            clean.check_share(dataset, counts, keep, self.real_each)

    def check_model(self, model: ModelSpec) -> None:
        """`InputError` for a network that lacks what the method asks of it."""
        self.selection.check_model(model)

    def remarks(self, dataset: Dataset, model: ModelSpec, seed: int, compute: Compute) -> list[str]:
        """Nothing before the run."""
        return []

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        own = {"settings": None, "weighting": asdict(self.weighting), "selection_steps": self.steps}
        later = {
            "ranking_steps": self.ranking_steps,
            "table": None if self.table is None else self.table.to_json(),
            "on": None if self.on == OBJECTIVE else self.on,
        }
        said = {name: value for name, value in later.items() if value is not None}
        return {**own, "allocation": self.asked_allocation, "factor": self.factor, **said}

    def open(self, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, prepared: Prepared) -> SelectionWork:
        """The work before it is done. `prepared`: what the arm does to instances beforehand (data/clean.py), and scores."""
        counts = counts_of(dataset, self.ipc, self.allocation)
        weights, found = clean.weights_of(dataset, prepared.tensors), clean.cleaned(dataset, prepared.tensors)
        scores = prepared.tensors.get(clean.TABLE_SCORES)
        scores = None if scores is None else clean.by_row(found.train.rows, dataset.train.rows, scores)
        return SelectionWork(self, found, counts, model, rng, compute, weights, scores)


@dataclass
class SelectionWork:
    """A selection as a work (work.py): nothing to step through, the result is all of it."""

    plan: Selecting
    dataset: Dataset
    counts: tuple[int, ...]  # images that are stored of each class
    model: ModelSpec
    rng: Rng
    compute: Compute
    weights: Tensor | None = None  # (N,) of the training instances, where the arm has any
    scores: Tensor | None = None  # (N,) influence on the validation risk, where it selects by that
    total: int = 0
    step: int = 0

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = ""

    def steps(self) -> Iterator[Event]:
        """None."""
        return iter(())

    def state(self) -> dict[str, Tensor]:
        """None."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Nothing to restore."""

    def chosen(self) -> Tensor:
        """Positions of the training images that are kept, factor^2 for each one that is stored."""
        plan, dataset = self.plan, self.dataset
        counts = [plan.real_each * count for count in self.counts]
        own = {k: v for k, v in read(plan.arm, plan.selection).items() if k not in ("factor", "steps", "on")}
        own |= {name: value for name, value in (("weights", self.weights), ("scores", self.scores)) if value is not None}
        found = plan.selection.select(dataset, counts, self.model, self.rng, self.compute.device, plan.steps, **own)
        check_chosen(plan.selection.name, found, counts, dataset)
        return found

    def artifact(self) -> DistilledSet:
        """The chosen images."""
        return self._set(self.chosen())

    def result(self) -> Result:
        """The chosen images, and which they are."""
        positions = self.chosen()
        rows = self.dataset.train.rows[positions].tolist() if self.plan.arm.method != "full" else None
        return Result(self._set(positions), {"iterations": 0, "ess": None, "rows": rows})

    def _set(self, positions: Tensor) -> DistilledSet:
        dataset, factor = self.dataset, self.plan.factor
        images, labels = tiled(dataset, positions, factor)
        soft = None if dataset.train.soft is None or factor > 1 else dataset.train.soft[positions]
        return DistilledSet(images, labels, dataset.classes, dataset.mean, dataset.std, soft=soft, factor=factor)


def plan(arm: Arm, selection: Selection, asked: JobOptions, dataset: Dataset) -> Selecting:
    """The plan of an arm."""
    own = read(arm, selection)
    allocation = asked.allocation if asked.allocation != "equal" else None
    steps, on = own.get("steps"), own.get("on", OBJECTIVE)
    return Selecting(selection, arm, asked.ipc, allocation, own.get("factor", 1), steps, weighting_of(arm), on=on)


def plan_from(arm: Arm, selection: Selection, stored: Json) -> Selecting:
    """The plan that `Selecting.to_json` wrote; `stored` has the job's `ipc` beside it."""
    weighting: Json = {k: math.inf if v == "inf" else v for k, v in stored.get("weighting", {}).items()}
    return Selecting(
        selection,
        arm,
        stored["ipc"],
        stored.get("allocation"),
        stored.get("factor", 1),
        stored["selection_steps"],
        Weighting(**weighting),
        stored.get("ranking_steps"),
        table_from(stored.get("table")),
        stored.get("on", OBJECTIVE),
    )
