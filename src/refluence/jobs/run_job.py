"""A job in its folder: made, judged, or read where it is finished."""

from __future__ import annotations

from pathlib import Path

from refluence.data.distilled import DistilledSet
from refluence.data.distilled import read_card as read_set_card
from refluence.data.readme import CARD
from refluence.files import Json, read_json
from refluence.jobs import quality, students
from refluence.jobs.cleaned import facts
from refluence.jobs.job import ArmJob, StudentJob
from refluence.jobs.judge import judge, judgements
from refluence.jobs.make_student import make_student
from refluence.jobs.preparing import prepared_for
from refluence.jobs.session import Session
from refluence.run.drive import drive
from refluence.seeds import streams
from refluence.transfer.artifact import Student
from refluence.transfer.artifact import read_card as read_student_card
from refluence.work import Result, Work

Row = Json
EVALUATION = "evaluation.json"
KINDS = (DistilledSet.kind, Student.kind)
OF_CLEANED = ("share", "auc")
OF_CARD = ("seconds", "peak_bytes", "stored_bytes", "ess", "images", "iterations")
OF_SAMPLED = ("influence", "nearest", "sampled", "denoiser_seconds", "minimax_seconds", "surrogate_seconds")


def make(job: ArmJob, session: Session, folder: Path | None, shared: Path | None = None) -> tuple[Result, Json]:
    """Do the job's work from the start or its last checkpoint; its result and its card. Written to `folder`, if any.

    `shared`: the folder in which jobs that need the same find it (needs.py). The card of an arm that acts on instances
    beforehand says what it did (cleaning.py).
    """
    if isinstance(job, StudentJob):
        return make_student(job, session, folder, shared)
    job, prepared = prepared_for(job, session, folder, shared)
    work: Work = job.plan.open(session.dataset, job.model, streams(job.seed), session.compute, prepared)
    before = 0.0 if prepared.parts else prepared.seconds  # what all seeds share is said apart
    result, costs = drive(work, folder, job.what, session.driver, before)
    summary, weights = job.plan.summary
    card = {
        "arm": job.arm.name,
        "method": job.arm.method,
        "summary": summary,
        "weights_summary": weights,
        "seed": job.seed,
        "ipc": job.ipc,
        "source": session.dataset.source,
        "model": job.model.to_json(),
        "validation": session.dataset.validation,
        **_notes(job, session, alone=folder is not None and shared is None),
        **result.card,
        **facts(job, session, prepared),
        **costs,
        **{f"{name}_seconds": round(seconds, 3) for name, seconds in prepared.parts.items()},
        "stored_bytes": result.artifact.stored_bytes,
        "images": len(result.artifact),
    }
    if folder is not None:
        for beside in result.beside:
            beside.save(folder)
        result.artifact.save(folder, card)
    return result, card


def _notes(job: ArmJob, session: Session, alone: bool) -> Json:
    """What was printed of data and steps, for the card of a sampled set that is a run by itself; a comparison has its own."""
    if not alone or job.plan.family != "generate":
        return {}
    remarks = job.plan.remarks(session.dataset, job.model, job.seed, session.compute)
    return {"notes": [*session.dataset.notes, *remarks]}


def run_job(job: ArmJob, session: Session, folder: Path | None, shared: Path | None = None) -> list[Row]:
    """Rows of this job, one per protocol. What is finished in `folder` is read, not made again; None writes nothing."""
    if folder is None:
        result, card = make(job, session, None)
        seen = _measured(job, result, session)
        return [row_of(job, entry, card, seen) for entry in _judged(job, result, session)]
    if not (folder / job.plan.artifact.kind / CARD).exists():
        make(job, session, folder, shared)
    if not finished(folder):
        if isinstance(job, StudentJob):
            students.judge_student(job, session, folder)
        else:
            quality.measure_run(job, session, folder, shared)  # before it is judged: a run that is finished was measured
            judge(job, session, folder, shared)
    count = 1 if isinstance(job, StudentJob) else len(job.protocols)
    entries = read_json(folder / EVALUATION)["evaluations"][:count]  # `evaluate` appends others
    return [row_of(job, entry, card_of(folder), quality.of_run(folder)) for entry in entries]


def _judged(job: ArmJob, result: Result, session: Session) -> list[Json]:
    if isinstance(job, StudentJob):
        assert isinstance(result.artifact, Student), "what transfers make"
        return [students.judgement(result.artifact, session, job.split, job.what)]
    assert isinstance(result.artifact, DistilledSet), "what methods and selections make"
    return list(judgements(job, result.artifact, session))


def _measured(job: ArmJob, result: Result, session: Session) -> Json:
    if isinstance(job, StudentJob) or job.quality is None:
        return {}
    assert isinstance(result.artifact, DistilledSet), "what methods and selections make"
    return quality.numbers(quality.measured(job, result.artifact, session))


def row_of(job: ArmJob, entry: Json, card: Json, seen: Json) -> Row:
    """The row of one evaluation. `seen`: what was measured of the set beside real images, if it was."""
    own = students.of_row(job, entry, card) if isinstance(job, StudentJob) else _of_set(card)
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
        **own,
        **seen,
    }


def _of_set(card: Json) -> Json:
    cleaned = card.get("cleaned", {})
    sampled = {k: card[k] for k in OF_SAMPLED if card.get(k) is not None}
    if isinstance(found := sampled.get("influence"), dict):
        sampled["influence"] = found["mean"]
    return {**{k: card[k] for k in OF_CARD}, **{k: cleaned[k] for k in OF_CLEANED if cleaned.get(k) is not None}, **sampled}


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
