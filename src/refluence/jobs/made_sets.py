"""Sets as what jobs make: how one is made, measured beside real images, judged, and said in a row."""

from __future__ import annotations

from pathlib import Path

from refluence.clock import Time
from refluence.data.distilled import DistilledSet
from refluence.files import Json
from refluence.jobs import quality
from refluence.jobs.card import beginning
from refluence.jobs.cleaned import facts
from refluence.jobs.job import Job
from refluence.jobs.judge import judge as judge_set
from refluence.jobs.judge import judgements
from refluence.jobs.preparing import prepared_for
from refluence.jobs.session import Session
from refluence.run.drive import drive
from refluence.seeds import streams
from refluence.work import Result, Work

OF_CLEANED = ("share", "auc")
OF_CARD = ("seconds", "peak_bytes", "stored_bytes", "ess", "images", "iterations")
OF_SAMPLED = ("influence", "nearest", "sampled", "denoiser_seconds", "minimax_seconds", "surrogate_seconds")


def make(job: Job, session: Session, folder: Path | None, shared: Path | None = None) -> tuple[Result, Json]:
    """See `run_job.make`. The card of an arm that acts on instances beforehand says what it did (cleaning.py)."""
    job, prepared = prepared_for(job, session, folder, shared)
    work: Work = job.plan.open(session.dataset, job.model, streams(job.seed), session.compute, prepared)
    before = Time() if prepared.parts else prepared.time  # what all seeds share is said apart
    result, costs = drive(work, folder, job.what, session.driver, before)
    card = {
        **beginning(job, session),
        "ipc": job.ipc,
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


def _notes(job: Job, session: Session, alone: bool) -> Json:
    """What was printed of data and steps, for the card of a sampled set that is a run by itself; a comparison has its own."""
    if not alone or job.plan.family != "generate":
        return {}
    remarks = job.plan.remarks(session.dataset, job.model, job.seed, session.compute)
    return {"notes": [*session.dataset.notes, *remarks]}


def judge(job: Job, session: Session, folder: Path, shared: Path | None) -> None:
    """Measure and judge the set in `folder`; measured first, so that a run that is finished was measured."""
    quality.measure_run(job, session, folder, shared)
    judge_set(job, session, folder, shared)


def judged(job: Job, result: Result, session: Session) -> list[Json]:
    """The evaluations of a set that lies in no folder."""
    assert isinstance(result.artifact, DistilledSet), "what methods, selections and generators make"
    return list(judgements(job, result.artifact, session))


def measured(job: Job, result: Result, session: Session) -> Json:
    """What is measured of it beside real images."""
    if job.quality is None:
        return {}
    assert isinstance(result.artifact, DistilledSet), "what methods, selections and generators make"
    return quality.numbers(quality.measured(job, result.artifact, session))


def of_row(job: Job, entry: Json, card: Json) -> Json:
    """What the row of an evaluation says of a set beside what it says of everything that is judged."""
    cleaned = card.get("cleaned", {})
    sampled = {k: card[k] for k in OF_SAMPLED if card.get(k) is not None}
    if isinstance(found := sampled.get("influence"), dict):
        sampled["influence"] = found["mean"]
    known = {**{k: card[k] for k in OF_CARD}, **{k: card[k] for k in ("cpu_seconds",) if k in card}}
    return {**known, **{k: cleaned[k] for k in OF_CLEANED if cleaned.get(k) is not None}, **sampled}
