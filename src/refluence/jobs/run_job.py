"""A job in its folder: made, judged, or read where it is finished."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from refluence.data.distilled import DistilledSet
from refluence.data.distilled import read_card as read_set_card
from refluence.data.readme import CARD
from refluence.files import Json, read_json
from refluence.jobs import made_sets, made_students, quality
from refluence.jobs.job import ArmJob, Job, StudentJob
from refluence.jobs.session import Session
from refluence.run.progress import begun
from refluence.transfer.artifact import Student
from refluence.transfer.artifact import read_card as read_student_card
from refluence.work import Result

Row = Json
EVALUATION = "evaluation.json"
KINDS = (DistilledSet.kind, Student.kind)
MADE: dict[type[ArmJob], ModuleType] = {Job: made_sets, StudentJob: made_students}
"""The module of what a job makes: `make`, `judge`, `judged`, `measured`, `of_row`."""


def make(job: ArmJob, session: Session, folder: Path | None, shared: Path | None = None) -> tuple[Result, Json]:
    """Do the job's work from the start or its last checkpoint; its result and its card. Written to `folder`, if any.

    `shared`: the folder in which jobs that need the same find it (needs.py).
    """
    made: tuple[Result, Json] = MADE[type(job)].make(job, session, folder, shared)
    return made


def run_job(job: ArmJob, session: Session, folder: Path | None, shared: Path | None = None) -> list[Row]:
    """Rows of this job, one per protocol. What is finished in `folder` is read, not made again; None writes nothing."""
    made = MADE[type(job)]
    begun()
    if folder is None:
        result, card = make(job, session, None)
        seen = made.measured(job, result, session)
        return [row_of(job, entry, card, seen) for entry in made.judged(job, result, session)]
    if not (folder / job.plan.artifact.kind / CARD).exists():
        make(job, session, folder, shared)
    if not finished(folder):
        made.judge(job, session, folder, shared)
    entries = read_json(folder / EVALUATION)["evaluations"][: len(job.judged_by)]  # `evaluate` appends others
    return [row_of(job, entry, card_of(folder), quality.of_run(folder)) for entry in entries]


def row_of(job: ArmJob, entry: Json, card: Json, seen: Json) -> Row:
    """The row of one evaluation. `seen`: what was measured of the set beside real images, if it was."""
    return {
        "arm": job.arm.name,
        "seed": job.seed,
        "protocol": entry["protocol"],
        "split": entry["split"],
        "accuracy": entry["accuracy"],
        "nets": entry["accuracies"],
        "balanced_accuracy": entry["balanced_accuracy"],
        "macro_f1": entry["macro_f1"],
        "imbalance": entry.get("imbalance"),
        **MADE[type(job)].of_row(job, entry, card),
        **seen,
    }


def card_of(folder: Path) -> Json:
    """The card of what a job made in `folder`."""
    if (folder / Student.kind / CARD).exists():
        return read_student_card(folder / Student.kind)
    return read_set_card(folder / DistilledSet.kind)


def outcome(job: ArmJob) -> tuple[str, str]:
    """The files of a job that was made and judged."""
    return EVALUATION, f"{job.plan.artifact.kind}/{CARD}"


def finished(folder: Path) -> bool:
    """Whether the job was made and judged."""
    return (folder / EVALUATION).exists() and any((folder / kind / CARD).exists() for kind in KINDS)
