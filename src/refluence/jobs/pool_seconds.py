"""How large a pool is that is made and selected in the seconds of guidance: the control of guided sampling.

    factor = seconds of X+igd / seconds of X, over all seeds (at least 1)

Nobody reports it, though guidance costs several times plain sampling. Selection takes a share of those seconds too, which is
left to the pool. What was measured is written to `pool_seconds.json` once, so that a comparison that is resumed, grows or is
repeated goes on with the same number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from refluence.arm import UNIFORM, Arm
from refluence.files import Json, read_json, write_json
from refluence.generate.job import Sampling
from refluence.generate.pool import FACTOR
from refluence.jobs.catalogue import base_of
from refluence.jobs.job import ArmJob, Job

FILE = "pool_seconds.json"
POOL = "pool"
GUIDED = ("igd", "influence", "deviation", "entropy", "modes")
"""Whose seconds a pool gets, the first of them that is there."""


def waits(job: ArmJob, jobs: Sequence[ArmJob]) -> bool:
    """Whether the size of the job's pool follows from the seconds of other arms."""
    return open_pool(job) and guided(job.arm, jobs) is not None


def open_pool(job: ArmJob) -> bool:
    """Whether it is left open how large the job's pool is."""
    plan = job.plan
    return isinstance(plan, Sampling) and plan.settings.pool is not None and plan.settings.pool.factor is None


def guided(arm: Arm, jobs: Sequence[ArmJob]) -> Arm | None:
    """The arm whose seconds the pool `arm` gets."""
    arms = {job.arm.kind: job.arm for job in reversed(jobs) if base_of(job.arm).same(base_of(arm))}
    if UNIFORM not in arms:
        return None
    return next((arms[kind] for kind in GUIDED if kind in arms), None)


def sized(
    jobs: Sequence[ArmJob], others: Sequence[ArmJob], rows: Sequence[Json], out: Path | None, decided: Json
) -> tuple[list[ArmJob], list[str]]:
    """The jobs of pools with their sizes, and a note on each arm. `others` were made, `rows` are theirs.

    `decided`: what another folder has measured.
    """
    path = None if out is None else out / FILE
    known = {**decided, **(read_json(path) if path is not None and path.exists() else {})}
    made: list[ArmJob] = []
    for job in jobs:
        name = job.arm.name
        if name not in known:
            known[name] = _measured(job.arm, others, rows)
        made.append(with_factor(job, known[name]["factor"]))
    if path is not None and known:
        write_json(path, known)
    named = {job.arm.name for job in jobs}
    return made, [
        f"{name}: {found['factor']:.2f} times as many images as are kept, as {found['of']} takes {found['seconds']:.1f} s and "
        f"{found['base']} {found['base_seconds']:.1f} s"
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


def _measured(arm: Arm, others: Sequence[ArmJob], rows: Sequence[Json]) -> Json:
    of = guided(arm, others)
    assert of is not None, "it waits for one"
    base, own = (_seconds(name, rows) for name in (base_of(arm).name, of.name))
    factor = round(max(1.0, own / max(base, 1e-9)), 3)
    return {"factor": factor, "of": of.name, "seconds": own, "base": base_of(arm).name, "base_seconds": base}


def _seconds(arm: str, rows: Sequence[Json]) -> float:
    """The mean over seeds; a job has a row for each protocol."""
    return fmean({row["seed"]: float(row["seconds"]) for row in rows if row["arm"] == arm}.values())
