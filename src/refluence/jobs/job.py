"""A job: a plan, a seed and a network, everything that decides the result. `to_json` and `from_json` are inverse."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Generic, TypeVar

from refluence.arm import Arm, read_arm
from refluence.condense.job import Distilling
from refluence.data import Dataset
from refluence.data.allocation import counts_of
from refluence.errors import InputError
from refluence.evaluate.protocol import Protocol
from refluence.files import Json, spelled
from refluence.generate.job import Sampling
from refluence.jobs.catalogue import FAMILIES, Declaration, methods
from refluence.jobs.measuring import Measuring
from refluence.models import ModelSpec, read_spec
from refluence.score import at_set
from refluence.score import job as score
from refluence.score.at_set import ScoringSet
from refluence.score.job import Scoring
from refluence.select.job import Selecting
from refluence.transfer import job as transfer
from refluence.transfer.job import Transferring
from refluence.transfer.mechanism import Mechanism

SAMPLE = "generate sample"
"""The command of a set that is sampled."""
SetPlan = Distilling | Selecting | Sampling
ScorePlan = Scoring | ScoringSet
Plan = SetPlan | ScorePlan | Transferring
"""The plans of all families; what a job uses of them is the same in each."""

P = TypeVar("P", bound=Plan, covariant=True)


@dataclass(frozen=True)
class BareJob(Generic[P]):
    """Everything that decides a result, resolved: no default is left open. It has no arm, and nothing judges what it makes."""

    seed: int
    plan: P
    model: ModelSpec

    @property
    def what(self) -> str:
        """The job as messages call it."""
        return f"{self.plan.family} seed {self.seed}"

    def to_json(self) -> Json:
        """Plain values, the plan's own among them."""
        return spelled({"seed": self.seed, "model": self.model.to_json(), **self.plan.to_json()})


@dataclass(frozen=True)
class Job(BareJob[SetPlan]):
    """The job of an arm: it makes a small set.

    `model` makes the set and judges it: `nets` networks under each of `protocols`, on `split`. `quality`: how it is measured
    beside real images; None: it is not.
    """

    arm: Arm
    ipc: int
    protocols: tuple[Protocol, ...]
    nets: int
    split: str
    quality: Measuring | None = None

    @property
    def what(self) -> str:
        """The job as messages call it."""
        return f"{self.arm.name} seed {self.seed}"

    @property
    def command(self) -> str:
        """The command that makes it by itself."""
        return SAMPLE if self.plan.family == "generate" else "distill"

    @property
    def judged_by(self) -> tuple[str, ...]:
        """The names of its protocols."""
        return tuple(protocol.name for protocol in self.protocols)

    @property
    def per_class(self) -> int:
        """Real images that a class must have not to be small: no set has more images of a class than the data."""
        return self.ipc

    def counts(self, dataset: Dataset) -> tuple[int, ...]:
        """Images that are stored of each class: the same numbers for every arm of a comparison."""
        return counts_of(dataset, self.ipc, self.plan.allocation)

    def shortened(self, steps: int, real_batch: int) -> Job:
        """The job with that many image steps, epochs and steps between, one network judges: does it start?

        What it does stays as it is: the method, its augmentation, the width of its networks, every rate.
        """
        judged = tuple(protocol.with_(epochs=min(steps, protocol.epochs)) for protocol in self.protocols)
        measured = None if self.quality is None else self.quality.shortened(real_batch)
        return replace(self, plan=self.plan.shortened(steps, real_batch), protocols=judged, nets=1, quality=measured)

    def to_json(self) -> Json:
        """Plain values for config.json, the plan's own among them."""
        own = {"arm": self.arm.name, "seed": self.seed, "ipc": self.ipc, "nets": self.nets, "split": self.split}
        parts = {"model": self.model.to_json(), "protocols": tuple(asdict(protocol) for protocol in self.protocols)}
        measured = {} if self.quality is None else {"quality": self.quality.to_json()}
        return spelled({**own, **parts, **self.plan.to_json(), **measured})

    def __reduce__(self) -> tuple[Any, tuple[Json, ModelSpec]]:
        """A worker in another process gets the job as plain values, and its network, which may be a function."""
        return Job.from_json, (self.to_json(), self.model)

    @classmethod
    def from_json(cls, stored: Json, model: ModelSpec | None = None, declared: Declaration | None = None) -> Job:
        """The job that `to_json` wrote, of this version or an earlier one. `model`: its network (None: as it is stored).
        `declared`: its method (None: the package's of that name).

        Raises:
            InputError: a method that this version does not have.
        """
        arm, known = read_arm(stored["arm"]), {f.name for f in fields(Protocol)}
        if (method := declared or methods().get(arm.method)) is None:
            raise InputError(f"the run was made by the method '{arm.method}', which this Refluence does not have")
        values: list[Json] = [
            {k: tuple(v) if isinstance(v, list) else v for k, v in p.items() if k in known} for p in stored["protocols"]
        ]
        protocols = tuple(Protocol(**p) for p in values)
        model = model or read_spec(stored["model"])
        plan = FAMILIES[type(method)].plan_from(arm, method, stored)
        own = {"ipc": stored["ipc"], "protocols": protocols, "nets": stored["nets"], "split": stored["split"]}
        own |= {"quality": Measuring.from_json(stored["quality"])} if "quality" in stored else {}
        return cls(stored["seed"], plan, model, arm, **own)


@dataclass(frozen=True)
class StudentJob(BareJob[Transferring]):
    """The job of an arm of a transfer: it makes a student, the network `model`, which is judged on `split` as it is."""

    arm: Arm
    split: str

    command: ClassVar[str] = "transfer"  # that makes it by itself
    ipc: ClassVar[int] = 0  # images a class: it keeps none
    nets: ClassVar[int] = 1  # networks that judge: itself
    per_class: ClassVar[int] = 1  # real images that a class must have not to be small
    protocols: ClassVar[tuple[Protocol, ...]] = ()  # it is judged as it is
    judged_by: ClassVar[tuple[str, ...]] = ("student",)

    @property
    def what(self) -> str:
        """The job as messages call it."""
        return f"{self.arm.name} seed {self.seed}"

    def shortened(self, steps: int, real_batch: int) -> StudentJob:
        """The job with that many epochs or steps, of its teacher too: does it start?"""
        return replace(self, plan=self.plan.shortened(steps, real_batch))

    def to_json(self) -> Json:
        """Plain values for config.json, the plan's own among them."""
        own = {"arm": self.arm.name, "seed": self.seed, "split": self.split, "model": self.model.to_json()}
        return spelled({**own, **self.plan.to_json()})

    @classmethod
    def from_json(cls, stored: Json, model: ModelSpec | None = None, declared: Declaration | None = None) -> StudentJob:
        """The job that `to_json` wrote; see `Job.from_json`.

        Raises:
            InputError: a mechanism that this version does not have.
        """
        arm = read_arm(stored["arm"])
        mechanism = declared or methods().get(arm.method)
        if not isinstance(mechanism, Mechanism):
            raise InputError(f"the run was made by the mechanism '{arm.method}', which this Refluence does not have")
        plan = transfer.plan_from(arm, mechanism, stored)
        return cls(stored["seed"], plan, model or read_spec(stored["model"]), arm, stored["split"])


ArmJob = Job | StudentJob
"""A job that has an arm, and whose artifact is judged."""


def read_arm_job(stored: Json, model: ModelSpec | None = None, declared: Declaration | None = None) -> ArmJob:
    """The job of an arm that `to_json` wrote: it makes a set or a student."""
    return (StudentJob if transfer.KEY in stored else Job).from_json(stored, model, declared)


def read_job(stored: Json) -> BareJob[Plan]:
    """The job of any family that `to_json` wrote. What JSON cannot hold, a trained network, is to be handed over again."""
    for family in (score, at_set):
        if family.KEY in stored:
            return BareJob(stored["seed"], family.plan_from(stored, methods()), read_spec(stored["model"]))
    return read_arm_job(stored)
