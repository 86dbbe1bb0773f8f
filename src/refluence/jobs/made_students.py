"""Students as what jobs make: how one is made (its teacher first), judged, and said in a row."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import torch

from refluence.files import Json
from refluence.jobs import teachers
from refluence.jobs.card import beginning
from refluence.jobs.job import StudentJob
from refluence.jobs.needs import key
from refluence.jobs.session import Session
from refluence.jobs.students import judge_student, judgement, of_teacher
from refluence.run import checkpoint
from refluence.run.drive import drive
from refluence.seeds import streams
from refluence.transfer.artifact import CARD, Student, Taught, read_card, save_network
from refluence.work import Prepared, Result

SHARED = "shared"
OF_CARD = ("seconds", "peak_bytes", "stored_bytes", "ess", "parameters")


def make(job: StudentJob, session: Session, folder: Path | None, shared: Path | None) -> tuple[Result, Json]:
    """The student of a job and its card, written to `folder`, if any. `shared`: where a teacher that was trained first lies.

    A run by itself keeps its teacher in `folder/shared`, and at the end in `folder/teacher`.
    """
    alone = folder is not None and shared is None
    shared = folder / SHARED if folder is not None and shared is None else shared
    job = replace(job, plan=teachers.equipped(job.plan, session.dataset))
    plan, prepared = job.plan, teachers.prepare(job, session, shared)
    work = plan.open(session.dataset, job.model, streams(job.seed), session.compute, prepared)
    result, costs = drive(work, folder, job.what, session.driver, prepared.time)
    made = result.artifact
    assert isinstance(made, Student), "what transfers make"
    card = {
        **beginning(job, session),
        "train": len(session.dataset.train),
        **({"notes": list(session.dataset.notes)} if alone else {}),
        **_of_teacher(job, session, shared, prepared),
        **result.card,
        **costs,
        **{f"teacher_{name}": value for name, value in prepared.time.rounded().items()},
        "stored_bytes": made.stored_bytes,
    }
    if folder is not None:
        for beside in result.beside:
            beside.save(folder)
        learned = any(isinstance(beside, Taught) for beside in result.beside)
        teacher = teachers.network_of(plan, prepared, session, job.seed) if alone and not learned else None
        if teacher is not None:
            save_network(folder / "teacher", teacher, {"source": session.dataset.source})
        if card.get("teacher") and (sha256 := _file_of(folder, card)):
            card["teacher"] = {**card["teacher"], "sha256": sha256}
        made.save(folder, card)
        shutil.rmtree((folder / checkpoint.NAME).parent, ignore_errors=True)  # it lies there whole
    return result, card


def judge(job: StudentJob, session: Session, folder: Path, shared: Path | None) -> None:
    """Judge the student in `folder`."""
    judge_student(job, session, folder)


def judged(job: StudentJob, result: Result, session: Session) -> list[Json]:
    """The evaluation of a student that lies in no folder."""
    assert isinstance(result.artifact, Student), "what transfers make"
    return [judgement(result.artifact, session, job.split, job.what)]


def measured(job: StudentJob, result: Result, session: Session) -> Json:
    """Nothing: a student has no images."""
    return {}


def of_row(job: StudentJob, entry: Json, card: Json) -> Json:
    """What the row of an evaluation says of a student beside what it says of everything that is judged.

    `iterations`: epochs, of `semi` steps. `noisy_weight`, `clean_weight`, `auc`: of instances whose label, of `semi` whose
    pseudo-label, is wrong and right (`weights_by_truth`).
    """
    weights = card.get("weights") or {}
    facts = {
        "auc": weights.get("auc"),
        "below_one": card.get("below_one"),
        "teacher_accuracy": card.get("teacher_accuracy"),
        "teacher_seconds": card.get("teacher_seconds"),
        "teacher_cpu_seconds": card.get("teacher_cpu_seconds"),
        "cpu_seconds": card.get("cpu_seconds"),
        "noisy_weight": weights.get("noisy"),
        "clean_weight": weights.get("clean"),
        "gain_watching": card.get("gain_watching"),
    }
    return {
        "worst_class": entry["worst_class"]["accuracy"],
        **{k: card[k] for k in OF_CARD},
        "iterations": job.plan.iterations,
        **{k: v for k, v in facts.items() if v is not None},
    }


def _file_of(folder: Path, card: Json) -> str | None:
    """The digest of the teacher's file: of the one in `folder`, else of the one that jobs share."""
    own = folder / "teacher"
    return str(read_card(own)["sha256"]) if (own / CARD).exists() else card.get("teacher_sha256")


def _of_teacher(job: StudentJob, session: Session, shared: Path | None, prepared: Prepared) -> Json:
    """The accuracy of the teacher as it was before the student began, measured once for all who share it."""
    if job.plan.teacher is None or job.plan.teaches_itself:
        return {}
    place = teachers.place(job, session, shared)
    if place is None:
        return {"teacher_accuracy": _in_memory(job, session, prepared)}
    teacher = teachers.kept(job, session, place, prepared)
    return {"teacher_accuracy": of_teacher(place, session, job.split, teacher), "teacher_sha256": read_card(place)["sha256"]}


def _in_memory(job: StudentJob, session: Session, prepared: Prepared) -> float:
    """The same where there is no folder: the session remembers it."""
    need, loaded = teachers.need_of(job), job.plan.teacher and job.plan.teacher.loaded
    name = f"accuracy {job.split} {key(need, session) if need else loaded and loaded.sha256}"
    if name not in session.made:
        teacher = teachers.network_of(job.plan, prepared, session, job.seed)
        assert teacher is not None, "the job has one"
        accuracy = judgement(teacher, session, job.split, "teacher")["accuracy"]
        session.made[name] = Prepared({"accuracy": torch.tensor(accuracy, dtype=torch.float64)})
    return float(session.made[name].tensors["accuracy"])
