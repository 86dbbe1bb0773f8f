"""What a job that makes a set needs before its first step, whatever its family is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from refluence.generate.job import Sampling, equipped
from refluence.jobs import cleaning, denoisers
from refluence.jobs.job import Job
from refluence.jobs.session import Session
from refluence.work import Prepared


def prepared_for(job: Job, session: Session, folder: Path | None, shared: Path | None = None) -> tuple[Job, Prepared]:
    """The job, with what no JSON holds of it, and what its work needs: read from `folder` or `shared`, or made there."""
    plan = job.plan
    if isinstance(plan, Sampling):
        job = replace(job, plan=equipped(plan, session.dataset))
        return job, denoisers.prepare(job, session, folder, shared)
    return job, cleaning.prepare(job, session, folder, shared)
