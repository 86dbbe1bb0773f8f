"""How the card of what a job made begins, whatever it made."""

from __future__ import annotations

from refluence.files import Json
from refluence.jobs.job import ArmJob
from refluence.jobs.session import Session


def beginning(job: ArmJob, session: Session) -> Json:
    """The arm in its words, the seed, the data and the network."""
    summary, weights = job.plan.summary
    return {
        "arm": job.arm.name,
        "method": job.arm.method,
        "summary": summary,
        "weights_summary": weights,
        "seed": job.seed,
        "source": session.dataset.source,
        "model": job.model.to_json(),
        "validation": session.dataset.validation,
    }
