"""One job in a folder of its own: what `refluence distill`, `transfer` and `generate sample` write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from refluence.jobs.job import ArmJob
from refluence.jobs.record import Asked, record_of
from refluence.jobs.run_job import Row, finished, outcome, run_job
from refluence.jobs.session import Session
from refluence.run.folder import claimed

PAGE = "report.html"


def make(
    job: ArmJob,
    asked: Asked,
    session: Session,
    folder: Path,
    *,
    resume: bool = True,
    page: Callable[[Path], object] | None = None,
) -> tuple[list[Row], bool]:
    """Make what the job makes from the start or its last checkpoint, judge it, and write its page.

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
    own = record_of(job, asked, session, folder)
    files = outcome(job) if page is None else (*outcome(job), PAGE)
    with claimed(folder, job.command, own.arguments, own.resolved, resume, outcome=files) as done:
        if not finished(folder):
            for remark in job.plan.remarks(session.dataset, job.model, job.seed, session.compute):
                session.reporter.say(remark)
        rows = run_job(job, session, folder)
        if not done and page is not None:
            page(folder)
    return rows, done
