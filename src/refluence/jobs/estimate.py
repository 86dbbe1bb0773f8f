"""What a job would cost: a few of its steps measured, and what comes beside them, scaled to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from refluence.jobs import estimated_sets, estimated_students
from refluence.jobs.estimated_needs import Needed
from refluence.jobs.few_steps import STEPS, stepping, tried
from refluence.jobs.job import ArmJob, Job, StudentJob
from refluence.jobs.scoring import Scores
from refluence.jobs.session import Session
from refluence.models import build
from refluence.seeds import streams

__all__ = ["STEPS", "judging_seconds", "making_seconds", "needed_seconds", "scoring_seconds", "warm_up"]

ESTIMATED: dict[type[ArmJob], ModuleType] = {Job: estimated_sets, StudentJob: estimated_students}
"""The module of what a job makes: `making_seconds`, `judging_seconds`."""


def warm_up(job: ArmJob, session: Session) -> None:
    """A pass forwards and backwards, so that the first arm does not pay for what PyTorch loads once."""
    dataset, device = session.dataset, session.compute.device
    x = dataset.pixels(dataset.train, slice(0, 64), device)
    for _ in range(2):
        build(job.model, streams(job.seed)("warm-up", 0), device)(x).square().mean().backward()


def needed_seconds(jobs: Sequence[ArmJob], session: Session) -> list[tuple[str, float]]:
    """What sampled sets and their judges need first, in a word each, and its seconds; for all arms and seeds once."""
    return Needed(lambda work: stepping(work, lambda _: [])).of(jobs, session)


def making_seconds(job: ArmJob, session: Session) -> tuple[float, int]:
    """Seconds to make what the job makes, and the bytes that are stored of it."""
    seconds, stored = ESTIMATED[type(job)].making_seconds(job, session)
    return float(seconds), int(stored)


def scoring_seconds(scores: Scores) -> tuple[float, int]:
    """Seconds to score, and the bytes of the table. Iterations of a solve are counted as if it took all that it may."""
    job, session = scores.job, scores.session
    work = job.plan.open(session.dataset, job.model, streams(job.seed), session.compute, scores.prepared)
    return tried(work.costs()), work.artifact().stored_bytes


def judging_seconds(job: ArmJob, session: Session) -> float:
    """Seconds of the evaluation of what the job makes. The test split is not read."""
    return float(ESTIMATED[type(job)].judging_seconds(job, session))
