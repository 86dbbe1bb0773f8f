"""How large a pool is that is made and selected in the seconds of guidance: the control of guided sampling.

    factor = (seconds of X+igd - seconds of the selection) / seconds of X, over all seeds (at least 1)

Nobody reports it, though guidance costs several times plain sampling. The selection is tried once, among as many images of
noise as would fit without it. What was measured is written to `pool_seconds.json` once, so that a comparison that is resumed,
grows or is repeated goes on with the same number. The seconds are those that decide (timed.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from refluence.arm import UNIFORM, Arm
from refluence.clock import Time
from refluence.files import Json, read_json, write_json
from refluence.generate.job import Sampling
from refluence.generate.pool import FACTOR
from refluence.generate.work import SamplingWork
from refluence.jobs.catalogue import base_of
from refluence.jobs.job import ArmJob, Job
from refluence.jobs.preparing import prepared_for
from refluence.jobs.session import Session
from refluence.seeds import streams

FILE = "pool_seconds.json"
POOL = "pool"
TIMED = ("igd", "influence", "deviation", "entropy", "modes", "learnability")
"""What steers the arms whose seconds count: a pool gets those of the slowest."""


def waits(job: ArmJob, jobs: Sequence[ArmJob]) -> bool:
    """Whether the size of the job's pool follows from the seconds of other arms."""
    return open_pool(job) and bool(guided(job.arm, jobs))


def open_pool(job: ArmJob) -> bool:
    """Whether it is left open how large the job's pool is."""
    plan = job.plan
    return isinstance(plan, Sampling) and plan.settings.pool is not None and plan.settings.pool.factor is None


def guided(arm: Arm, jobs: Sequence[ArmJob]) -> list[Arm]:
    """The arms that the pool `arm` is the rival of: it gets the seconds of the slowest."""
    arms = {job.arm.kind: job.arm for job in reversed(jobs) if base_of(job.arm).same(base_of(arm))}
    return [arms[kind] for kind in TIMED if kind in arms] if UNIFORM in arms else []


def sized(
    jobs: Sequence[ArmJob],
    others: Sequence[ArmJob],
    rows: Sequence[Json],
    out: Path | None,
    decided: Json,
    selecting: Callable[[ArmJob], float],
) -> tuple[list[ArmJob], list[str]]:
    """The jobs of pools with their sizes, and a note on each arm. `others` were made, `rows` are theirs.

    `decided`: what another folder has measured. `selecting`: the seconds in which the pool of a job is selected from.
    """
    path = None if out is None else out / FILE
    known = {**decided, **(read_json(path) if path is not None and path.exists() else {})}
    made: list[ArmJob] = []
    for job in jobs:
        name = job.arm.name
        if name not in known:
            known[name] = _measured(job, others, rows, selecting)
        made.append(with_factor(job, known[name]["factor"]))
    if path is not None and known:
        write_json(path, known)
    named = {job.arm.name for job in jobs}
    return made, [
        f"{name}: {found['factor']:.2f} times as many images as are kept, as {found['of']} takes {found['seconds']:.1f} s, "
        f"{found['base']} {found['base_seconds']:.1f} s and the selection {found.get('selection_seconds', 0.0):.1f} s"
        for name, found in known.items()
        if name in named
    ]


def with_factor(job: ArmJob, factor: float) -> ArmJob:
    """The job from a pool of that size."""
    assert isinstance(job, Job), "it makes a set"
    assert isinstance(job.plan, Sampling), "of a pool"
    return replace(job, plan=job.plan.with_factor(factor))


def alone(job: ArmJob) -> ArmJob:
    """The job with the usual size of its pool, where nothing decides it."""
    return with_factor(job, FACTOR) if open_pool(job) else job


def selection_time(job: ArmJob, session: Session, shared: Path | None) -> Time:
    """The time in which as many images as the job's pool has are selected from; they are noise, as time does not mind."""
    assert isinstance(job, Job), "it makes a set"
    job, prepared = prepared_for(job, session, None, shared)
    work = job.plan.open(session.dataset, job.model, streams(job.seed), session.compute, prepared)
    assert isinstance(work, SamplingWork), "of a pool"
    work.z.normal_(generator=streams(job.seed)("pool-tried"))
    work.step = work.batches
    begin = Time.now()
    for _ in work.steps():
        pass
    return Time.now() - begin


def _measured(job: ArmJob, others: Sequence[ArmJob], rows: Sequence[Json], selecting: Callable[[ArmJob], float]) -> Json:
    plain, taken = base_of(job.arm).name, {arm.name: _seconds(arm.name, rows) for arm in guided(job.arm, others)}
    of = max(taken, key=lambda name: taken[name])
    base, own = (max(seconds, 1e-9) for seconds in (_seconds(plain, rows), taken[of]))
    selection = selecting(with_factor(job, max(1.0, own / base)))
    factor = round(max(1.0, (own - selection) / base), 3)
    return {
        "factor": factor,
        "of": of,
        "seconds": own,
        "base": plain,
        "base_seconds": base,
        "selection_seconds": selection,
    }


def _seconds(arm: str, rows: Sequence[Json]) -> float:
    """The mean over seeds; a job has a row for each protocol."""
    return fmean({row["seed"]: float(row["seconds"]) for row in rows if row["arm"] == arm}.values())
