"""A selection as a job: what its arm may say, its plan with every default resolved, and the work that the plan opens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from refluence.arm import UNIFORM, Arm
from refluence.compute import Compute
from refluence.data import Dataset
from refluence.data.allocation import allocate
from refluence.data.distilled import DistilledSet
from refluence.errors import InputError
from refluence.files import Json
from refluence.influence.weighting import KINDS, Weighting
from refluence.models import ModelSpec
from refluence.options import JobOptions
from refluence.seeds import Rng
from refluence.select.chosen import check_chosen
from refluence.select.selection import Selection
from refluence.select.tiles import check_room, tiled
from refluence.work import Cost, Event, Prepared, Result, Work


def own_keys() -> tuple[str, ...]:
    """The options of an arm that are settings of the method: none of a base without weights has them."""
    return ()


def check(arm: Arm, selection: Selection) -> None:
    """`InputError` for weights, and for options that the selection does not have."""
    if arm.kind != UNIFORM:
        raise InputError(f"arm '{arm.name}': {arm.method} selects real images and takes no weights; write '{arm.method}'")
    read(arm, selection)


def read(arm: Arm, selection: Selection) -> Json:
    """The options of an arm, such as `random:factor=2`, as values."""
    try:
        return selection.read(dict(arm.options))
    except InputError as error:
        raise InputError(f"arm '{arm.name}': {error}") from None


@dataclass(frozen=True)
class Selecting:
    """Everything that decides a selection beside its seed and network, resolved."""

    selection: Selection
    arm: Arm
    ipc: int
    asked_allocation: str | None = None  # None: equal
    factor: int = 1  # factor^2 reduced real images in the room of one
    steps: int | None = None  # of its own networks; None: their default

    iterations: ClassVar[int] = 0
    ranking: ClassVar[str | None] = None
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
        return self.selection.summary, KINDS[UNIFORM]

    @property
    def usual_steps(self) -> int:
        """Steps of its own networks where no other number is asked for."""
        return self.selection.steps

    def ranked(self, model: ModelSpec, seed: int) -> None:
        """None: a selection ranks for itself."""

    def order(
        self, images: Tensor, labels: Tensor, dataset: Dataset, model: ModelSpec, rng: Rng, device: torch.device, nets: int
    ) -> Tensor | None:
        """None: a selection has no distance on which its images have influence."""
        return None

    def with_iterations(self, iterations: int, size: str) -> Selecting:
        """The same: a selection has no image steps."""
        return self

    def unweighted(self) -> Selecting:
        """The same: a selection has no weights."""
        return self

    def shortened(self, steps: int, real_batch: int) -> Selecting:
        """The same with that many steps of its networks: does it start?"""
        return replace(self, steps=steps)

    def steady(self) -> Selecting:
        """The same: there are no steps to estimate by."""
        return self

    @property
    def formation(self) -> int:
        """Each stored image holds formation^2 of them."""
        return self.factor

    def ahead(self, work: Work) -> list[Cost]:
        """Nothing beside the result."""
        return []

    def check_data(self, dataset: Dataset, counts: tuple[int, ...]) -> None:
        """`NoRoomError` where a class has too few images."""
        if self.factor > 1:
            check_room(dataset, counts, self.factor)

    def check_model(self, model: ModelSpec) -> None:
        """`InputError` for a network that lacks what the method asks of it."""
        self.selection.check_model(model)

    def remarks(self, dataset: Dataset, model: ModelSpec, seed: int, compute: Compute) -> list[str]:
        """Nothing before the run."""
        return []

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        own = {"settings": None, "weighting": asdict(Weighting()), "selection_steps": self.steps}
        return {**own, "allocation": self.asked_allocation, "factor": self.factor}

    def open(self, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, prepared: Prepared) -> SelectionWork:
        """The work before it is done."""
        return SelectionWork(self, dataset, model, rng, compute)


@dataclass
class SelectionWork:
    """A selection as a work (work.py): nothing to step through, the result is all of it."""

    plan: Selecting
    dataset: Dataset
    model: ModelSpec
    rng: Rng
    compute: Compute
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
        members = [len(dataset.train.members(c)) for c in range(len(dataset.classes))]
        counts = [plan.factor**2 * count for count in allocate(members, plan.ipc, plan.allocation)]
        own = {k: v for k, v in read(plan.arm, plan.selection).items() if k not in ("factor", "steps")}
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


def plan(arm: Arm, selection: Selection, asked: JobOptions, shape: tuple[int, int, int]) -> Selecting:
    """The plan of an arm."""
    own = read(arm, selection)
    allocation = asked.allocation if asked.allocation != "equal" else None
    return Selecting(selection, arm, asked.ipc, allocation, own.get("factor", 1), own.get("steps"))


def plan_from(arm: Arm, selection: Selection, stored: Json) -> Selecting:
    """The plan that `Selecting.to_json` wrote; `stored` has the job's `ipc` beside it."""
    allocation, factor = stored.get("allocation"), stored.get("factor", 1)
    return Selecting(selection, arm, stored["ipc"], allocation, factor, stored["selection_steps"])
