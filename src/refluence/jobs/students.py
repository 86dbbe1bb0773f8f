"""A student judged as it is, on the test split or, for choices, on validation instances: written to evaluation.json."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from refluence.data import Dataset
from refluence.data.dataset import Split
from refluence.errors import InputError, option
from refluence.evaluate.measure import from_predictions, imbalance, per_class, worst_class
from refluence.files import Json, read_json, write_json
from refluence.jobs.job import StudentJob
from refluence.jobs.judge_again import append
from refluence.jobs.session import Session
from refluence.locks import held
from refluence.seeds import streams
from refluence.training.predict import predict
from refluence.transfer.artifact import CARD, Student, read_card, read_network

(PROTOCOL,) = StudentJob.judged_by  # of an evaluation that trains nothing
EVALUATION = "evaluation.json"
CHUNK_PIXELS = 2**18  # numbers of an instance x instances at once
PATIENCE = 30.0  # seconds to wait for another process that counts a use of the test split


def load_student(folder: Path, job: StudentJob) -> Student:
    """The student of a run's folder."""
    return read_network(folder / Student.kind, job.model, streams(job.seed)("network", 0))


def judge_student(job: StudentJob, session: Session, folder: Path) -> None:
    """Judge the student in `folder` and write evaluation.json. A use of the test split is counted before it is read."""
    student = load_student(folder, job)
    if job.split == "test":
        count_use(folder / Student.kind)
    write_json(folder / EVALUATION, {"evaluations": [judgement(student, session, job.split, job.what)]})


def judge_again(
    job: StudentJob, session: Session, folder: Path, source: str, split: str, *, resume: bool = False
) -> tuple[Json, bool]:
    """The student in `folder` judged on a split of the session's data, and whether that is new; added to evaluation.json."""
    path, student = folder / EVALUATION, load_student(folder, job)
    check_fits(source, session.dataset, student)
    own = [
        e for e in read_json(path)["evaluations"] if (e["split"], e.get("source", session.dataset.source)) == (split, source)
    ]
    if own and resume:
        return own[-1], False
    if split == "test":
        count_use(folder / Student.kind)
    entry = {**judgement(student, session, split, job.what), "source": source}
    append(path, "evaluations", entry)
    return entry, True


def judgement(student: Student, session: Session, split: str, what: str) -> Json:
    """One evaluation of a network as plain values, the worst class and every class beside the mean."""
    dataset = session.dataset.normalised_as(student.mean, student.std)
    held_out = dataset.test if split == "test" else dataset.val
    called = predictions(student.net, dataset, held_out, session.compute.device)
    scores, classes = from_predictions(held_out.labels, called), per_class(held_out.labels, called, len(dataset.classes))
    worst = worst_class(classes, dataset.classes)
    return {
        "protocol": PROTOCOL,
        "split": split,
        "accuracy": scores.accuracy,
        "accuracies": [scores.accuracy],
        "balanced_accuracy": scores.balanced_accuracy,
        "macro_f1": scores.macro_f1,
        "imbalance": imbalance(held_out.labels),
        "worst_class": {"class": worst.name, "accuracy": worst.accuracy},
        "per_class": list(classes),
        "model": student.model.name,
        "width": student.model.width,
        "norm": student.model.norm,
    }


def predictions(net: nn.Module, dataset: Dataset, split: Split, device: torch.device) -> torch.Tensor:
    """The class `(N,)` that a network gives every instance of a split."""
    if not len(split):
        raise InputError("there is nothing to evaluate on: the split is empty")
    net, chunk = net.to(device).eval(), max(1, CHUNK_PIXELS // split.images[0].numel())

    def fetch(part: slice) -> torch.Tensor:
        return dataset.pixels(split, part, device)

    return predict(lambda x: net(x).argmax(1).cpu(), fetch, len(split), chunk, device=device)


def count_use(place: Path) -> int:
    """Note in the card of a network that the test split was used once more; returns how often by now."""
    with held(place / f".{CARD}.lock", str(place / CARD), PATIENCE):
        card = read_card(place)
        card["test_uses"] = int(card.get("test_uses", 0)) + 1
        write_json(place / CARD, card)
    return int(card["test_uses"])


def check_fits(name: str, dataset: Dataset, student: Student) -> None:
    """`InputError` where a dataset has other classes or another shape than a student knows."""
    if dataset.classes != student.classes:
        few = ", ".join(student.classes[:5])
        raise InputError(
            f"{name} has {len(dataset.classes)} classes, the student {len(student.classes)} ({few}, …): they must be the same"
        )
    if dataset.shape != student.model.shape:
        ours, theirs = (" x ".join(map(str, shape)) for shape in (dataset.shape, student.model.shape))
        raise InputError(f"{name} has instances of {ours}, the student takes {theirs} ({option('image_size')} resizes)")


def of_teacher(place: Path, session: Session, split: str, teacher: Student) -> float:
    """Percent of the split that a teacher is right on: measured once, kept beside it."""
    path = place / EVALUATION
    entries: list[Json] = read_json(path)["evaluations"] if path.exists() else []
    if (known := next((entry for entry in entries if entry["split"] == split), None)) is None:
        if split == "test":
            count_use(place)
        known = judgement(teacher, session, split, "teacher")
        append(path, "evaluations", known)
    return float(known["accuracy"])
