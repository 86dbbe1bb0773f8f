"""What a comparison is asked for: its arms and seeds, and how each job is made; its flags, as config.json keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from refluence.arm import Arm
from refluence.data import Dataset
from refluence.errors import InputError
from refluence.files import Json
from refluence.jobs import equal_seconds, record
from refluence.jobs.catalogue import Declaration, own_methods, with_controls
from refluence.jobs.cleanable import refuse_unread
from refluence.jobs.job import Job
from refluence.jobs.resolve import resolve
from refluence.jobs.session import Session
from refluence.models import ModelSpec
from refluence.options import JobOptions, SeedOptions
from refluence.run.execute import parse


@dataclass(frozen=True, kw_only=True)
class Comparing:
    """What is compared: arms, each with the same seeds.

    `methods` are arms as text, or methods of one's own; with `controls` some bring others along (`catalogue.with_controls`).
    `seeds`: how many, from `seed` on. `equal_seconds` adds `X` without weights for as many seconds as `X+influence` took.
    `executor`: `serial`, `processes[:N]`, None for as many processes as are faster.
    """

    methods: tuple[str | Declaration, ...]
    options: JobOptions = field(default_factory=JobOptions)
    seeds: int = 3
    seed: int = 0
    controls: bool = True
    equal_seconds: bool = False
    executor: str | None = None

    def arms(self) -> list[Arm]:
        """Each row of the comparison. `InputError` for what cannot run, found before any data is read."""
        if isinstance(self.methods, str) or not self.methods:
            raise InputError(f"methods is {self.methods!r}: give a list of arms, such as ['random', 'dc', 'dc+influence']")
        SeedOptions(seed=self.seed, seeds=self.seeds)
        arms = with_controls(self.methods, self.controls)
        if self.equal_seconds:
            equal_seconds.check(arms)
        parse(self.executor)
        return arms

    def jobs(self, dataset: Dataset) -> list[Job]:
        """A job for each seed and arm, all arms of a seed before the next seed."""
        own, arms = own_methods(self.methods), self.arms()
        seeds = range(self.seed, self.seed + self.seeds)
        jobs = [resolve(self.options, arm, dataset, seed, own.get(arm.method)) for seed in seeds for arm in arms]
        rows = jobs[: len(arms)]
        for job in rows:
            job.plan.check_model(job.model)
        _check_different(rows)
        refuse_unread(self.options.scores, rows)
        return jobs

    def arguments(self, model: ModelSpec, session: Session, out: Path) -> Json:
        """The flags of the `refluence compare` that makes the same folder; `model` is the network of its jobs."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "options"}
        shared = record.shared_arguments(self.options, model, session, out)
        return {**shared, **own, "methods": [getattr(each, "name", each) for each in self.methods], "workers": 0}

    @classmethod
    def from_arguments(cls, stored: Json) -> Comparing:
        """The comparison of a folder whose config.json has these arguments."""
        executor = executor_name(stored.get("executor"), stored.get("workers", 0))
        return cls(
            methods=tuple(stored["methods"]), options=record.options_from(stored), seeds=stored["seeds"], seed=stored["seed"],
            controls=stored["controls"], equal_seconds=stored["equal_seconds"], executor=executor,
        )  # fmt: skip


def _check_different(jobs: Sequence[Job]) -> None:
    """`InputError` where two arms resolve to the same plan, however each is written."""
    plans = [replace(job.plan, arm=Arm(job.arm.method)) for job in jobs]
    for number, job in enumerate(jobs):
        if (first := plans.index(plans[number])) < number:
            names = jobs[first].arm.name, job.arm.name
            raise InputError(
                f"the arms '{names[0]}' and '{names[1]}' are the same: give one of them, as '{min(names, key=len)}'"
            )


def executor_name(executor: str | None, workers: int) -> str | None:
    """An executor by name and a number of processes, as the command line takes them, as one; `InputError` where they differ."""
    parse(executor, workers)
    return f"processes:{workers}" if workers and executor in (None, "processes") else executor
