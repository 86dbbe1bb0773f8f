"""What a comparison is asked for: its arms and seeds, and how each job is made; its flags, as config.json keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from refluence.arm import Arm
from refluence.data import Dataset
from refluence.errors import InputError, option
from refluence.evaluate.references import kind
from refluence.files import Json
from refluence.generate.method import Generator
from refluence.jobs import equal_seconds, record
from refluence.jobs.catalogue import Declaration, methods, own_methods, parse_arm, with_controls
from refluence.jobs.cleanable import refuse_unread
from refluence.jobs.job import ArmJob, SetPlan
from refluence.jobs.resolve import resolve
from refluence.jobs.resolve_student import resolve_student
from refluence.jobs.session import Session
from refluence.jobs.teachers import teacher_of
from refluence.options import SamplingOptions, SeedOptions, SetOptions, TransferOptions
from refluence.run.execute import parse
from refluence.transfer.arms import refuse_idle
from refluence.transfer.job import Transferring
from refluence.transfer.mechanism import Mechanism


@dataclass(frozen=True, kw_only=True)
class Comparing:
    """What is compared: arms, each with the same seeds.

    `methods` are arms as text, or methods of one's own; with `controls` some bring others along (`catalogue.with_controls`).
    `seeds`: how many, from `seed` on. `equal_seconds` adds `X` without weights for as many seconds as `X+influence` took.
    `transfer`: how students are made, where the arms are mechanisms of a transfer; of sets `options` say it.
    `executor`: `serial`, `processes[:N]`, None for as many processes as are faster.
    """

    methods: tuple[str | Declaration, ...]
    options: SetOptions = field(default_factory=SetOptions)
    seeds: int = 3
    seed: int = 0
    controls: bool = True
    equal_seconds: bool = False
    executor: str | None = None
    transfer: TransferOptions = field(default_factory=TransferOptions)

    def arms(self) -> list[Arm]:
        """Each row of the comparison. `InputError` for what cannot run, found before any data is read."""
        if isinstance(self.methods, str) or not self.methods:
            raise InputError(f"methods is {self.methods!r}: give a list of arms, such as ['random', 'dc', 'dc+influence']")
        SeedOptions(seed=self.seed, seeds=self.seeds)
        arms = with_controls(self.methods, self.controls, self.transfer)
        if self.equal_seconds:
            equal_seconds.check(arms)
        parse(self.executor)
        students = [(arm, mechanism) for arm in arms if isinstance(mechanism := self._declared(arm), Mechanism)]
        if 0 < len(students) < len(arms):
            student = students[0][0].name
            other = next(arm.name for arm in arms if not isinstance(self._declared(arm), Mechanism))
            raise InputError(
                f"'{student}' makes a student and '{other}' a small set: students are compared with students, sets with sets"
            )
        self._refuse_other(students=bool(students))
        if not students and not any(isinstance(self._declared(arm), Generator) for arm in arms):
            self._refuse_sampling()
        if students:
            refuse_idle(self.transfer, students)
        return arms

    def _refuse_other(self, students: bool) -> None:
        """`InputError` for an option that says nothing of what these arms make."""
        asked, others = (self.options, self.transfer) if students else (self.transfer, self.options)
        beside = {f.name for f in fields(others)}
        for f in fields(asked):
            if f.name not in beside and getattr(asked, f.name) != f.default:
                what = "small sets, and these arms make students" if students else "students, and these arms make small sets"
                raise InputError(f"{option(f.name)} is for {what}: leave it out")

    def _refuse_sampling(self) -> None:
        """`InputError` for an option of sampled sets, where no arm samples one."""
        for f in fields(SamplingOptions):
            if getattr(self.options, f.name) != f.default:
                raise InputError(
                    f"{option(f.name)} is for sampled sets, such as dit+igd, and no arm here makes one: leave it out"
                )

    @property
    def of_students(self) -> bool:
        """Whether the arms make students."""
        return isinstance(self._declared(parse_arm(self.methods[0], own_methods(self.methods))), Mechanism)

    @property
    def asked(self) -> SetOptions | TransferOptions:
        """How what the arms make is made."""
        return self.transfer if self.of_students else self.options

    @property
    def per_class(self) -> int:
        """Training images that a class must have: as many as a set has of it; of students no set is made."""
        return 1 if self.of_students else self.options.ipc

    @property
    def size(self) -> str:
        """cpu or paper."""
        return self.asked.size

    def _declared(self, arm: Arm) -> Declaration:
        return own_methods(self.methods).get(arm.method) or methods()[arm.method]

    def jobs(self, dataset: Dataset) -> list[ArmJob]:
        """A job for each seed and arm, all arms of a seed before the next seed. An arm that is brought along is left out
        where one that is asked for turns out to be the same on these data.
        """
        resolved = self.resolver(dataset)
        rows = self._once([resolved(arm, self.seed) for arm in self.arms()])
        for job in rows:
            job.plan.check_model(job.model)
        _check_different(rows)
        refuse_unread(self.options.scores, rows)
        later = range(self.seed + 1, self.seed + self.seeds)
        return [*rows, *(resolved(job.arm, seed) for seed in later for job in rows)]

    def _once(self, rows: Sequence[ArmJob]) -> list[ArmJob]:
        """The jobs without those that were brought along and that one of an arm that is asked for can stand for: it makes the
        same, and each other arm is compared with it too."""
        own = own_methods(self.methods)
        given = [parse_arm(each, own) for each in self.methods]
        asked = [job for job in rows if any(job.arm.same(arm) for arm in given)]

        def stands(job: ArmJob, other: ArmJob) -> bool:
            """Whether `job` can stand for `other`."""
            kept = (kind(each.arm.name, other.arm.name) in ("", kind(each.arm.name, job.arm.name)) for each in rows)
            return _plan(job) == _plan(other) and all(kept)

        return [job for job in rows if job in asked or not any(stands(each, job) for each in asked)]

    def resolver(self, dataset: Dataset) -> Callable[[Arm, int], ArmJob]:
        """What makes the job of an arm and a seed. Students share one teacher, which is read once."""
        own, teacher = own_methods(self.methods), teacher_of(self.transfer, dataset) if self.of_students else None

        def resolved(arm: Arm, seed: int) -> ArmJob:
            declared = self._declared(arm)
            if isinstance(declared, Mechanism):
                return resolve_student(self.transfer, arm, dataset, seed, declared, teacher)
            return resolve(self.options, arm, dataset, seed, own.get(arm.method))

        return resolved

    def record(self, job: ArmJob, session: Session, folder: Path, facts: Json) -> tuple[str, record.Record]:
        """The command that makes one job by itself, and what config.json keeps of it."""
        return job.command, record.record_of(job, self.asked, session, folder, facts)

    def arguments(self, job: ArmJob, session: Session, out: Path) -> Json:
        """The flags of the `refluence compare` that makes the same folder; `job` is one of its jobs."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("options", "transfer")}
        shared = record.shared_arguments(type(self.asked), self.asked, job.model, session, out)
        return {**shared, **own, "methods": [getattr(each, "name", each) for each in self.methods], "workers": 0}

    @classmethod
    def from_arguments(cls, stored: Json) -> Comparing:
        """The comparison of a folder whose config.json has these arguments."""
        executor = executor_name(stored.get("executor"), stored.get("workers", 0))
        numbers = {name: stored[name] for name in ("seeds", "seed", "controls", "equal_seconds")}
        options, transfer = record.options_from(stored), record.transfer_from(stored)
        return cls(methods=tuple(stored["methods"]), options=options, transfer=transfer, executor=executor, **numbers)


def _check_different(jobs: Sequence[ArmJob]) -> None:
    """`InputError` where two arms resolve to the same plan, however each is written."""
    plans = [_plan(job) for job in jobs]
    for number, job in enumerate(jobs):
        if (first := plans.index(plans[number])) < number:
            names = jobs[first].arm.name, job.arm.name
            raise InputError(
                f"the arms '{names[0]}' and '{names[1]}' are the same: give one of them, as '{min(names, key=len)}'"
            )


def _plan(job: ArmJob) -> SetPlan | Transferring:
    """What decides the result beside seed and network, however the arm is written."""
    return replace(job.plan, arm=Arm(job.arm.method))


def executor_name(executor: str | None, workers: int) -> str | None:
    """An executor by name and a number of processes, as the command line takes them, as one; `InputError` where they differ."""
    parse(executor, workers)
    return f"processes:{workers}" if workers and executor in (None, "processes") else executor
