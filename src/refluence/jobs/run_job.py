"""A job in its folder: made, judged, or read where it is finished."""

from __future__ import annotations

from pathlib import Path

from refluence.data.distilled import DistilledSet, read_card
from refluence.data.readme import CARD
from refluence.files import Json, read_json
from refluence.jobs.cleaned import facts
from refluence.jobs.cleaning import prepare
from refluence.jobs.job import Job
from refluence.jobs.judge import judge, judgements
from refluence.jobs.session import Session
from refluence.run.drive import drive
from refluence.seeds import streams
from refluence.work import Result, Work

Row = Json
FINISHED = ("evaluation.json", f"distilled/{CARD}")  # files of a job that was made and judged
OF_CLEANED = ("share", "auc")
OF_CARD = ("seconds", "peak_bytes", "stored_bytes", "ess", "images", "iterations")


def make(job: Job, session: Session, folder: Path | None, shared: Path | None = None) -> tuple[Result, Json]:
    """Do the job's work from the start or its last checkpoint; its result and its card. Written to `folder`, if any.

    `shared`: the folder in which jobs that need the same find it (needs.py). The card of an arm that acts on instances
    beforehand says what it did (cleaning.py).
    """
    prepared = prepare(job, session, folder, shared)
    work: Work = job.plan.open(session.dataset, job.model, streams(job.seed), session.compute, prepared)
    result, costs = drive(work, folder, job.what, session.driver, prepared.seconds)
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
        **result.card,
        **facts(job, session, prepared),
        **costs,
        "stored_bytes": result.artifact.stored_bytes,
        "images": len(result.artifact),
    }
    if folder is not None:
        for beside in result.beside:
            beside.save(folder)
        result.artifact.save(folder, card)
    return result, card


def run_job(job: Job, session: Session, folder: Path | None, shared: Path | None = None) -> list[Row]:
    """Rows of this job, one per protocol. What is finished in `folder` is read, not made again; None writes nothing."""
    if folder is None:
        result, card = make(job, session, None)
        assert isinstance(result.artifact, DistilledSet), "what methods and selections make"
        return [row_of(job, entry, card) for entry in judgements(job, result.artifact, session)]
    if not (folder / "distilled" / CARD).exists():
        make(job, session, folder, shared)
    if not finished(folder):
        judge(job, session, folder)
    card = read_card(folder / "distilled")
    entries = read_json(folder / "evaluation.json")["evaluations"][: len(job.protocols)]  # `evaluate` appends others
    return [row_of(job, entry, card) for entry in entries]


def row_of(job: Job, entry: Json, card: Json) -> Row:
    """The row of one evaluation."""
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
        **{k: card[k] for k in OF_CARD},
        **{k: card["cleaned"][k] for k in OF_CLEANED if card.get("cleaned", {}).get(k) is not None},
    }


def finished(folder: Path) -> bool:
    """Whether the job was made and judged."""
    return all((folder / name).exists() for name in FINISHED)
