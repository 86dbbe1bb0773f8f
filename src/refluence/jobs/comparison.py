"""A comparison: several arms with the same seeds, each made and judged, and what their rows say together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch

from refluence.arm import Arm
from refluence.data import Dataset
from refluence.errors import InputError
from refluence.evaluate.paired import Summary, summarise
from refluence.evaluate.verdict import verdict
from refluence.files import Json, read_json, write_json
from refluence.jobs import equal_seconds, record
from refluence.jobs.catalogue import Declaration, own_methods, with_controls
from refluence.jobs.job import Job
from refluence.jobs.resolve import resolve
from refluence.jobs.run_job import Row, finished, run_job
from refluence.jobs.session import Session, about
from refluence.models import ModelSpec
from refluence.options import JobOptions, SeedOptions
from refluence.run import device
from refluence.run.execute import Executor, automatic, parse
from refluence.run.folder import CONFIG, ENDING, claimed, locked, write_config

RESULTS, PAGE = "results.json", "report.html"
GROWING = ("arms", "seeds")  # more of these may be asked for of a folder that is there
Task = tuple[Job, Path | None, Path | None, int]


@dataclass(frozen=True, kw_only=True)
class Comparing:
    """What is compared: arms, each with the same seeds.

    `methods` are arms as text, or methods of one's own; with `controls`, `X+influence` brings `X` and `X+shuffled` along.
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
        for job in jobs[: len(jobs) // self.seeds]:
            job.plan.check_model(job.model)
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


@dataclass(frozen=True)
class Compared:
    """What came of a comparison: what results.json holds, and whether it was there before."""

    rows: list[Row]
    summary: list[Summary]
    verdict: str
    notes: list[str]
    already: bool = False

    @classmethod
    def of(cls, rows: list[Row], notes: Sequence[str] = ()) -> Compared:
        """Intervals and a sentence from rows."""
        summary = summarise(rows)
        return cls(rows, summary, verdict(summary, rows), list(notes))

    @classmethod
    def read(cls, folder: Path) -> Compared:
        """The results of a finished comparison."""
        stored = read_json(folder / RESULTS)
        return cls(stored["rows"], stored["summary"], stored["verdict"], stored.get("notes") or [], True)

    def to_json(self) -> Json:
        """What results.json holds."""
        return {"rows": self.rows, "summary": self.summary, "verdict": self.verdict, "notes": self.notes}


def compare(
    asked: Comparing,
    jobs: Sequence[Job],
    session: Session,
    out: Path | None = None,
    *,
    resume: bool = True,
    page: Callable[[Path], object] | None = None,
    decided: Json | None = None,
) -> Compared:
    """Make and judge what is missing of a comparison.

    Args:
        asked: what is compared; `jobs` are its jobs (`asked.jobs`), or those that a folder has of them.
        session: the data and the machine.
        out: the folder; None writes nothing.
        resume: whether a folder that is there is continued: finished units are read, more arms and seeds are added.
        page: writes the page of the folder, once the results are there; None: it has none.
        decided: the iterations of arms at equal seconds, where another folder has measured them (equal_seconds.json).

    Returns:
        Rows, intervals and the verdict.

    Raises:
        InputError: a folder that holds another comparison, or is in use.
        RunError: a job that had to stop.
    """
    executor = executor_of(asked, jobs, session)
    if executor.size > 1 and (own := next((job.arm.method for job in jobs if record.declared(job)), None)):
        raise InputError(f"executor '{asked.executor}': the method '{own}' is this process's own: executor='serial' runs it")
    threads = torch.get_num_threads() if executor.size == 1 else session.machine.threads or 1
    with device.threads(threads):  # those of every unit, wherever it runs
        if out is None:
            return _all(asked, jobs, session, None, executor, {}, decided or {})
        facts = about(session)
        seeds = list(dict.fromkeys(job.seed for job in jobs))
        arms = {job.arm.name: {**job.to_json(), **record.declared(job)} for job in jobs if job.seed == seeds[0]}
        resolved = {"arms": arms, "seeds": seeds, "equal_seconds": asked.equal_seconds, **facts}
        outcome, arguments = (RESULTS,) if page is None else (RESULTS, PAGE), asked.arguments(jobs[0].model, session, out)
        with claimed(out, "compare", arguments, resolved, resume, outcome=outcome, growing=GROWING) as done:
            if done:
                return Compared.read(out)
            found = _all(asked, jobs, session, out, executor, facts, decided or {})
            write_json(out / RESULTS, found.to_json())
            if page is not None:
                page(out)
    return found


def executor_name(executor: str | None, workers: int) -> str | None:
    """An executor by name and a number of processes, as the command line takes them, as one; `InputError` where they differ."""
    parse(executor, workers)
    return f"processes:{workers}" if workers and executor in (None, "processes") else executor


def executor_of(asked: Comparing, jobs: Sequence[Job], session: Session) -> Executor:
    """The executor that was asked for, else as many processes as are faster; never larger than the number of jobs."""
    pixels, width = math.prod(session.dataset.shape[1:]), max(job.model.width or 0 for job in jobs)
    default = automatic(pixels, width, len(jobs), session.compute.device.type)
    return parse(asked.executor).open(len(jobs), default)


def unit_folder(out: Path, job: Job) -> Path:
    """Where a job of a comparison lives: units/ARM/SEED."""
    return out / "units" / job.arm.folder / str(job.seed)


def write_unit_config(job: Job, asked: JobOptions, session: Session, folder: Path, facts: Json) -> None:
    """config.json of a unit, as the `distill` that makes the same set: evaluate, score, report and repeat can use it."""
    if not (folder / CONFIG).exists():
        own = record.distilling(job, asked, session, folder, facts)
        write_config(folder, "distill", own.arguments, own.resolved)


def _all(
    asked: Comparing,
    jobs: Sequence[Job],
    session: Session,
    out: Path | None,
    executor: Executor,
    facts: Json,
    decided: Json,
) -> Compared:
    """All jobs, then those at equal seconds."""
    rows, notes = list(_rows(asked, jobs, session, out, executor, facts)), list(session.dataset.notes)
    if asked.equal_seconds:
        extra, said = equal_seconds.jobs(jobs, rows, asked.options.size, out, decided)
        notes += said
        rows += _rows(asked, extra, session, out, executor, facts)
    return Compared.of(rows, notes)


def _rows(
    asked: Comparing, jobs: Sequence[Job], session: Session, out: Path | None, executor: Executor, facts: Json
) -> Iterator[Row]:
    """Rows of all jobs, in order. Finished ones are read; the executor makes the others."""
    shared = None if out is None else out / "shared"
    folders = [None if out is None else unit_folder(out, job) for job in jobs]
    for job, folder in zip(jobs, folders, strict=True):
        if folder is not None:
            write_unit_config(job, asked.options, session, folder, facts)
    done = [folder is not None and finished(folder) for folder in folders]
    threads = torch.get_num_threads()
    tasks: list[Task] = [
        (job, folder, shared, threads) for job, folder, whole in zip(jobs, folders, done, strict=True) if not whole
    ]
    context = session.reopened() if executor.size > 1 else lambda: session
    try:
        made = executor.run(_make, tasks, context)
        if executor.size > 1 and tasks:
            made = session.reporter.track(made, "units", len(tasks))
        for number, (job, folder, whole) in enumerate(zip(jobs, folders, done, strict=True), 1):
            own = run_job(job, session, folder) if whole else next(made)
            session.reporter.say(f"[{number}/{len(jobs)}] {job.arm.name}, seed {job.seed}: {own[0]['accuracy']:.1f} %")
            yield from own
    finally:
        executor.close()


def _make(session: Session, task: Task) -> list[Row]:
    """Rows of a job that is made in its folder with its own number of threads."""
    job, folder, shared, threads = task
    with device.threads(threads):
        if folder is None:
            return run_job(job, session, None)
        with locked(folder, ENDING):
            return run_job(job, session, folder, shared)
