"""What a small set would cost: its own steps and what comes beside them, and networks that are trained on it to judge it."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from refluence.clock import Time
from refluence.data.distilled import DistilledSet
from refluence.evaluate.evaluation import evaluate
from refluence.jobs.few_steps import stepping, tried
from refluence.jobs.job import Job
from refluence.jobs.needs import key
from refluence.jobs.preparing import prepared_for
from refluence.jobs.scores_need import ScoresNeed
from refluence.jobs.session import Session
from refluence.jobs.source_network import labeller
from refluence.seeds import streams
from refluence.work import Prepared, Work

EPOCHS = 5


def making_seconds(job: Job, session: Session) -> tuple[float, int]:
    """Seconds to make it, and the bytes that are stored."""
    stand_in(job, session)
    begin = time.perf_counter()
    job, prepared = prepared_for(job, session, None)
    work: Work = job.plan.steady().open(session.dataset, job.model, streams(job.seed), session.compute, prepared)
    if not work.total:
        artifact = work.artifact()
        table = 0.0 if job.plan.table is None else prepared.seconds  # measured before, and not made
        return table + time.perf_counter() - begin, artifact.stored_bytes
    return prepared.seconds + stepping(work, job.plan.ahead), work.artifact().stored_bytes


def stand_in(job: Job, session: Session) -> None:
    """Put a table without scores in the place of the one that the job would make; its seconds are those of a short try."""
    table = job.plan.table
    if table is None or table.file is not None:
        return
    need = ScoresNeed(job.model, job.seed, table.epochs)
    name = key(need, session)
    if name not in session.made:
        work = need.plan.open(session.dataset, job.model, streams(job.seed), session.compute, Prepared())
        session.made[name] = Prepared(need.blank(session.dataset), Time(tried(work.costs())))


def judging_seconds(job: Job, session: Session) -> float:
    """Seconds of a short evaluation on validation data, scaled. The test split is not read."""
    dataset, device = session.dataset, session.compute.device
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
