"""One job in a folder of its own: what `refluence distill` writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from refluence.jobs import record
from refluence.jobs.job import Job
from refluence.jobs.run_job import FINISHED, Row, finished, run_job
from refluence.jobs.session import Session
from refluence.options import JobOptions
from refluence.run.folder import claimed

PAGE = "report.html"


def distill(
    job: Job,
    asked: JobOptions,
    session: Session,
    folder: Path,
    *,
    resume: bool = True,
    page: Callable[[Path], object] | None = None,
) -> tuple[list[Row], bool]:
    """Make the job's set from the start or its last checkpoint, judge it, and write its page.

    Args:
        job: what is made; `asked` is what it was resolved from.
        session: the data and the machine.
        folder: where everything is written.
        resume: whether a run that is there is continued.
        page: writes the page of the folder; None: it has none.

    Returns:
        A row for each protocol, and whether the run was finished before.

    Raises:
        InputError: a folder that holds another run, or is in use.
        RunError: numbers that are no longer finite.
    """
    own = record.distilling(job, asked, session, folder)
    outcome = FINISHED if page is None else (*FINISHED, PAGE)
    with claimed(folder, "distill", own.arguments, own.resolved, resume, outcome=outcome) as done:
        if not finished(folder):
            for remark in job.plan.remarks(session.dataset, job.model, job.seed, session.compute):
                session.reporter.say(remark)
        rows = run_job(job, session, folder)
        if not done and page is not None:
            page(folder)
    return rows, done
