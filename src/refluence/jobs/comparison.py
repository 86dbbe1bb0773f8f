"""A comparison: several arms with the same seeds, each made and judged, and what their rows say together."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from refluence.errors import InputError
from refluence.evaluate.at_chance import at_chance
from refluence.evaluate.paired import Summary, summarise
from refluence.evaluate.verdict import verdict
from refluence.files import Json, read_json, write_json
from refluence.jobs import equal_seconds, pool_seconds, record
from refluence.jobs.comparing import Comparing
from refluence.jobs.job import ArmJob
from refluence.jobs.run_job import Row, finished, run_job
from refluence.jobs.session import Session, about
from refluence.jobs.timed import by_processors, timed
from refluence.run import device
from refluence.run.execute import MOST, Executor, automatic, parse
from refluence.run.folder import CONFIG, ENDING, claimed, locked, write_config

RESULTS, PAGE = "results.json", "report.html"
GROWING = ("arms", "seeds")  # more of these may be asked for of a folder that is there
Task = tuple[ArmJob, Path | None, Path | None, int]


@dataclass(frozen=True)
class Compared:
    """What came of a comparison: what results.json holds, and whether it was there before."""

    rows: list[Row]
    summary: list[Summary]
    verdict: str
    notes: list[str]
    already: bool = False

    @classmethod
    def of(cls, rows: list[Row], classes: int, notes: Sequence[str] = ()) -> Compared:
        """Intervals and a sentence from rows, of data with so many classes."""
        summary = summarise(rows)
        return cls(rows, summary, at_chance(rows, classes) + verdict(summary, rows), list(notes))

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
    jobs: Sequence[ArmJob],
    session: Session,
    out: Path | None = None,
    *,
    resume: bool = True,
    page: Callable[[Path], object] | None = None,
    decided: Json | None = None,
    pools: Json | None = None,
) -> Compared:
    """Make and judge what is missing of a comparison.

    Args:
        asked: what is compared; `jobs` are its jobs (`asked.jobs`), or those that a folder has of them.
        session: the data and the machine.
        out: the folder; None writes nothing.
        resume: whether a folder that is there is continued: finished units are read, more arms and seeds are added.
        page: writes the page of the folder, once the results are there; None: it has none.
        decided: the iterations of arms at equal seconds, where another folder has measured them (equal_seconds.json).
        pools: the sizes of pools, where another folder has measured them (pool_seconds.json).

    Returns:
        Rows, intervals and the verdict.

    Raises:
        InputError: a folder that holds another comparison, or is in use.
        RunError: a job that had to stop.
    """
    executor = executor_of(asked, jobs, session)
    if executor.size > 1 and (own := next((job.arm.method for job in jobs if record.declared(job)), None)):
        raise InputError(f"executor '{asked.executor}': the method '{own}' is this process's own: executor='serial' runs it")
    if executor.size > 1:
        pickle.dumps(jobs[0].model)  # raises where other processes cannot import it
    threads = session.machine.threads or (1 if _beside(asked, jobs, session) else torch.get_num_threads())
    with device.threads(threads):  # those of every unit, wherever it runs
        if out is None:
            return _all(asked, jobs, session, None, executor, {}, decided or {}, pools or {})
        facts = about(session)
        seeds = list(dict.fromkeys(job.seed for job in jobs))
        arms = {job.arm.name: {**job.to_json(), **record.declared(job)} for job in jobs if job.seed == seeds[0]}
        resolved = {"arms": arms, "seeds": seeds, "equal_seconds": asked.equal_seconds, **facts}
        outcome, arguments = (RESULTS,) if page is None else (RESULTS, PAGE), asked.arguments(jobs[0], session, out)
        with claimed(out, "compare", arguments, resolved, resume, outcome=outcome, growing=GROWING) as done:
            if done:
                return Compared.read(out)
            found = _all(asked, jobs, session, out, executor, facts, decided or {}, pools or {})
            write_json(out / RESULTS, found.to_json())
            if page is not None:
                page(out)
    return found


def executor_of(asked: Comparing, jobs: Sequence[ArmJob], session: Session) -> Executor:
    """The executor that was asked for, else as many processes as are faster; never larger than the number of jobs."""
    return parse(asked.executor).open(len(jobs), _automatic(jobs, session, len(jobs)))


def _automatic(jobs: Sequence[ArmJob], session: Session, tasks: int) -> int:
    pixels, width = session.dataset.area, max(job.model.width or 0 for job in jobs)
    return automatic(pixels, width, tasks, session.compute.device.type)


def _beside(asked: Comparing, jobs: Sequence[ArmJob], session: Session) -> bool:
    """Whether units run beside each other, one thread each. A single unit counts alike: more may be asked for later."""
    choice = parse(asked.executor)
    return choice.size != 1 if choice.kind else _automatic(jobs, session, MOST) > 1


def unit_folder(out: Path, job: ArmJob) -> Path:
    """Where a job of a comparison lives: units/ARM/SEED."""
    return out / "units" / job.arm.folder / str(job.seed)


def write_unit_config(job: ArmJob, asked: Comparing, session: Session, folder: Path, facts: Json) -> None:
    """config.json of a unit, as the command that makes the same by itself: evaluate, score, report and repeat can use it."""
    if not (folder / CONFIG).exists():
        command, own = asked.record(job, session, folder, facts)
        write_config(folder, command, own.arguments, own.resolved)


def _all(
    asked: Comparing,
    jobs: Sequence[ArmJob],
    session: Session,
    out: Path | None,
    executor: Executor,
    facts: Json,
    decided: Json,
    pools: Json,
) -> Compared:
    """All jobs, then those of which the seconds of others decide how much they do."""
    waiting = [job for job in jobs if pool_seconds.waits(job, jobs)]
    at_once = [pool_seconds.alone(job) for job in jobs if job not in waiting]
    rows, notes = _rows(asked, at_once, session, out, executor, facts), list(session.dataset.notes)
    if waiting:
        shared, processors = None if out is None else out / "shared", by_processors(rows, session.compute.device)

        def selecting(job: ArmJob) -> float:
            spent = pool_seconds.selection_time(job, session, shared)
            return spent.cpu if processors else spent.wall

        extra, said = pool_seconds.sized(waiting, at_once, timed(rows, processors), out, pools, selecting)
        notes += said
        rows += _rows(asked, extra, session, out, executor, facts)
    if asked.equal_seconds:
        spent = timed(rows, by_processors(rows, session.compute.device))
        extra, said = equal_seconds.jobs(jobs, spent, asked.size, out, decided)
        notes += said
        rows += _rows(asked, extra, session, out, executor, facts)
    return Compared.of(rows, len(session.dataset.classes), notes)


def _rows(
    asked: Comparing, jobs: Sequence[ArmJob], session: Session, out: Path | None, executor: Executor, facts: Json
) -> list[Row]:
    """Rows of all jobs, in order. Finished ones are read; the executor makes the others."""
    shared = None if out is None else out / "shared"
    folders = [None if out is None else unit_folder(out, job) for job in jobs]
    for job, folder in zip(jobs, folders, strict=True):
        if folder is not None:
            write_unit_config(job, asked, session, folder, facts)
    done = [folder is not None and finished(folder) for folder in folders]
    order = range(len(jobs)) if executor.size == 1 else seed_after_seed(jobs)
    threads = torch.get_num_threads()
    tasks: list[Task] = [(jobs[at], folders[at], shared, threads) for at in order if not done[at]]
    context = session.reopened() if executor.size > 1 else lambda: session
    try:
        made = executor.run(_make, tasks, context)
        if executor.size > 1 and tasks:
            made = session.reporter.track(made, "units", len(tasks))
        found: dict[int, list[Row]] = {}
        for number, at in enumerate(order, 1):
            job = jobs[at]
            found[at] = own = run_job(job, session, folders[at]) if done[at] else next(made)
            session.reporter.say(f"[{number}/{len(jobs)}] {job.arm.name}, seed {job.seed}: {own[0]['accuracy']:.1f} %")
        return [row for at in range(len(jobs)) for row in found[at]]
    finally:
        executor.close()


def seed_after_seed(jobs: Sequence[ArmJob]) -> list[int]:
    """Positions: the first job of every seed, then the second. Arms of a seed share a teacher or surrogate, which one of them
    makes while the others would wait for it, each in a process that could work for another seed.
    """
    seen, turns = Counter[int](), list[tuple[int, int]]()
    for at, job in enumerate(jobs):
        turns.append((seen[job.seed], at))
        seen[job.seed] += 1
    return [at for _, at in sorted(turns)]


def _make(session: Session, task: Task) -> list[Row]:
    """Rows of a job that is made in its folder with its own number of threads."""
    job, folder, shared, threads = task
    with device.threads(threads):
        if folder is None:
            return run_job(job, session, None)
        with locked(folder, ENDING):
            return run_job(job, session, folder, shared)
