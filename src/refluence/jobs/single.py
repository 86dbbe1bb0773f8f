"""One job in a folder of its own: what `refluence distill` and `refluence transfer` write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from refluence.jobs import record
from refluence.jobs.job import ArmJob, Job, StudentJob
from refluence.jobs.run_job import Row, finished, outcome, run_job
from refluence.jobs.session import Session
from refluence.options import JobOptions, TransferOptions
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
    return _into(folder, record.command_of(job), record.distilling(job, asked, session, folder), job, session, resume, page)


def transfer(
    job: StudentJob,
    asked: TransferOptions,
    session: Session,
    folder: Path,
    *,
    resume: bool = True,
    page: Callable[[Path], object] | None = None,
) -> tuple[list[Row], bool]:
    """The same for a student: `distill` says what is what."""
    return _into(folder, record.command_of(job), record.transferring(job, asked, session, folder), job, session, resume, page)


def _into(
    folder: Path,
    command: str,
    own: record.Record,
    job: ArmJob,
    session: Session,
    resume: bool,
    page: Callable[[Path], object] | None,
) -> tuple[list[Row], bool]:
    files = outcome(job) if page is None else (*outcome(job), PAGE)
    with claimed(folder, command, own.arguments, own.resolved, resume, outcome=files) as done:
        if not finished(folder):
            for remark in job.plan.remarks(session.dataset, job.model, job.seed, session.compute):
                session.reporter.say(remark)
        rows = run_job(job, session, folder)
        if not done and page is not None:
            page(folder)
    return rows, done
