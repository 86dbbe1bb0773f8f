"""What a student would cost: its teacher, where one is trained first, its own steps, and what comes beside them."""

from __future__ import annotations

import time
from dataclasses import replace

from refluence.jobs import teachers
from refluence.jobs.few_steps import stepping
from refluence.jobs.job import StudentJob
from refluence.jobs.needs import key
from refluence.jobs.session import Session
from refluence.jobs.students import predictions
from refluence.jobs.teachers import TeacherNeed
from refluence.models import build
from refluence.seeds import streams
from refluence.work import Prepared


def making_seconds(job: StudentJob, session: Session) -> tuple[float, int]:
    """Seconds to make it, and the bytes that are stored. A teacher is measured on a few steps too, and not made."""
    job = replace(job, plan=teachers.equipped(job.plan, session.dataset))
    plan, need = job.plan, teachers.need_of(job)
    seconds = 0.0
    if isinstance(need, TeacherNeed):
        name = key(need, session)
        if name not in session.made:
            teacher = need.plan.steady().open(session.dataset, need.teacher.model, need.rng, session.compute, Prepared())
            seconds = stepping(teacher, need.plan.ahead)
            session.made[name] = Prepared(need.tensors(teacher.artifact()))
    prepared = teachers.prepare(job, session, None)
    work = plan.steady().open(session.dataset, job.model, streams(job.seed), session.compute, prepared)
    return seconds + stepping(work, plan.ahead), work.artifact().stored_bytes


def judging_seconds(job: StudentJob, session: Session) -> float:
    """Seconds of its answers to the test split, from those to the validation split."""
    dataset, device = session.dataset, session.compute.device
    begin, net = time.perf_counter(), build(job.model, streams(job.seed)("warm-up", 0), device)
    predictions(net, dataset, dataset.val, device)
    return (time.perf_counter() - begin) * len(dataset.test) / max(len(dataset.val), 1)
