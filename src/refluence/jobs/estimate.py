"""What a job would cost: a few of its steps measured, and what comes beside them, scaled to the whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from refluence.data.distilled import DistilledSet
from refluence.evaluate.evaluation import evaluate
from refluence.jobs import teachers
from refluence.jobs.estimated_needs import Needed
from refluence.jobs.job import ArmJob, Job, StudentJob
from refluence.jobs.needs import key
from refluence.jobs.preparing import prepared_for
from refluence.jobs.scores_need import ScoresNeed
from refluence.jobs.scoring import Scores
from refluence.jobs.session import Session
from refluence.jobs.source_network import labeller
from refluence.jobs.students import predictions
from refluence.jobs.teachers import TeacherNeed
from refluence.models import build
from refluence.seeds import streams
from refluence.work import Cost, Prepared, Stepping, Work

W = TypeVar("W", bound=Stepping)
STEPS = 3
EPOCHS = 5
LONG = 10.0  # seconds of what is measured once: it has no need to warm up


def warm_up(job: ArmJob, session: Session) -> None:
    """A pass forwards and backwards, so that the first arm does not pay for what PyTorch loads once."""
    dataset, device = session.dataset, session.compute.device
    x = dataset.pixels(dataset.train, slice(0, 64), device)
    for _ in range(2):
        build(job.model, streams(job.seed)("warm-up", 0), device)(x).square().mean().backward()


def needed_seconds(jobs: Sequence[ArmJob], session: Session) -> list[tuple[str, float]]:
    """What sampled sets and their judges need first, in a word each, and its seconds; for all arms and seeds once."""
    return Needed(lambda work: _stepping(work, lambda _: [])).of(jobs, session)


def making_seconds(job: ArmJob, session: Session) -> tuple[float, int]:
    """Seconds to make what the job makes, and the bytes that are stored of it."""
    if isinstance(job, StudentJob):
        return _student_seconds(job, session)
    stand_in(job, session)
    begin = time.perf_counter()
    job, prepared = prepared_for(job, session, None)
    work: Work = job.plan.steady().open(session.dataset, job.model, streams(job.seed), session.compute, prepared)
    if not work.total:
        artifact = work.artifact()
        table = 0.0 if job.plan.table is None else prepared.seconds  # measured before, and not made
        return table + time.perf_counter() - begin, artifact.stored_bytes
    return prepared.seconds + _stepping(work, job.plan.ahead), work.artifact().stored_bytes


def _student_seconds(job: StudentJob, session: Session) -> tuple[float, int]:
    """The same of a student; a teacher that is trained first is measured on a few steps too, and not made."""
    job = replace(job, plan=teachers.equipped(job.plan, session.dataset))
    plan, need = job.plan, teachers.need_of(job)
    seconds = 0.0
    if isinstance(need, TeacherNeed):
        name = key(need, session)
        if name not in session.made:
            teacher = need.plan.steady().open(session.dataset, need.teacher.model, need.rng, session.compute, Prepared())
            seconds = _stepping(teacher, need.plan.ahead)
            session.made[name] = Prepared(need.tensors(teacher.artifact()), 0.0)
    prepared = teachers.prepare(job, session, None)
    work = plan.steady().open(session.dataset, job.model, streams(job.seed), session.compute, prepared)
    return seconds + _stepping(work, plan.ahead), work.artifact().stored_bytes


def _stepping(work: W, ahead: Callable[[W], Sequence[Cost]]) -> float:
    """Seconds of all steps, from a few of them, and of what comes beside."""
    steps, begin = work.steps(), time.perf_counter()
    next(steps)  # the first step warms up
    seconds, begin, done = time.perf_counter() - begin, time.perf_counter(), 0
    for done, _ in enumerate(steps, 1):
        if done == STEPS or time.perf_counter() - begin > LONG:
            break
    if done:
        seconds = work.total * (time.perf_counter() - begin) / done
    return seconds + _tried(ahead(work))


def stand_in(job: Job, session: Session) -> None:
    """Put a table without scores in the place of the one that the job would make; its seconds are those of a short try."""
    table = job.plan.table
    if table is None or table.file is not None:
        return
    need = ScoresNeed(job.model, job.seed, table.epochs)
    name = key(need, session)
    if name not in session.made:
        work = need.plan.open(session.dataset, job.model, streams(job.seed), session.compute, Prepared())
        session.made[name] = Prepared(need.blank(session.dataset), _tried(work.costs()))


def scoring_seconds(scores: Scores) -> tuple[float, int]:
    """Seconds to score, and the bytes of the table. Iterations of a solve are counted as if it took all that it may."""
    job, session = scores.job, scores.session
    work = job.plan.open(session.dataset, job.model, streams(job.seed), session.compute, scores.prepared)
    return _tried(work.costs()), work.artifact().stored_bytes


def judging_seconds(job: ArmJob, session: Session) -> float:
    """Seconds of the job's evaluation: a short one on validation data, scaled. The test split is not read."""
    dataset, device = session.dataset, session.compute.device
    if isinstance(job, StudentJob):
        begin, net = time.perf_counter(), build(job.model, streams(job.seed)("warm-up", 0), device)
        predictions(net, dataset, dataset.val, device)
        return (time.perf_counter() - begin) * len(dataset.test) / max(len(dataset.val), 1)
    many = job.plan.formation**2
    some = [p for c, n in enumerate(job.counts(dataset)) for p in dataset.train.members(c)[: many * n].tolist()]
    images, labels = dataset.pixels(dataset.train, torch.tensor(some)), dataset.train.labels[some]
    small = DistilledSet(images, labels, dataset.classes, dataset.mean, dataset.std)
    total = 0.0
    for protocol in (replace(p, zca="").resolve(len(images), job.model.classes) for p in job.protocols):  # as fast without
        short = [min(EPOCHS, protocol.epochs), min(2 * EPOCHS, protocol.epochs)]
        spent, teacher = [], labeller(small, protocol, session, None)
        for epochs in (1, *short):  # the first one warms up
            begin = time.perf_counter()
            evaluate(images, labels, job.model, protocol.with_(epochs=epochs), dataset.val, dataset.mean, dataset.std,
                     streams(job.seed), 1, device, teacher=teacher, compiled=session.compute.compiled)  # fmt: skip
            spent.append(time.perf_counter() - begin)
        _, less, more = spent
        slope = max(more - less, 0) / max(short[1] - short[0], 1)
        scale = len(dataset.test) / max(len(dataset.val), 1)
        total += job.nets * (slope * protocol.epochs + max(less - slope * short[0], 0) * scale)
    return total


def _tried(costs: Sequence[Cost]) -> float:
    """Seconds of all, from a few of each."""
    seconds = 0.0
    for cost in costs:
        begin = time.perf_counter()
        cost.run(1)  # warms up
        if (one := time.perf_counter() - begin) < LONG:
            begin = time.perf_counter()
            cost.run(STEPS)
            one = (time.perf_counter() - begin) / STEPS
        seconds += cost.count * one
    return seconds
