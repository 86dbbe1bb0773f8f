"""Small models that learn from large ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from refluence import keywords, report
from refluence.api.sources import Data, student_session
from refluence.data.scores import ScoreTable
from refluence.errors import InputError, stated
from refluence.jobs.catalogue import check_mechanism
from refluence.jobs.comparing import Comparing
from refluence.jobs.job import StudentJob
from refluence.jobs.run_job import make
from refluence.jobs.session import Machine
from refluence.jobs.single import make as make_in
from refluence.jobs.students import judgement
from refluence.options import (
    SeedOptions,
    TransferOptions,
)
from refluence.results import StudentRun
from refluence.run import device
from refluence.transfer.artifact import Student
from refluence.transfer.mechanism import Mechanism


def transfer(
    data: Data,
    mechanism: str | Mechanism = "student",
    *,
    teacher: str | Callable[..., nn.Module] | nn.Module | None = None,
    student: str | Callable[..., nn.Module] | nn.Module | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **options: Any,
) -> StudentRun:
    """Make a small model from a large one. Over several seeds, with controls: `compare(data, ["joint"], teacher=…)`.

    Args:
        data: as in `distill`; the set of a run makes small data and a small model in one go.
        mechanism: an arm: `"kd"`, `"student"`, `"joint"`, `"kd+loss"`, `"joint:teacher_lr=.001"`, or a `Mechanism` of your own.
        teacher: a name, `"FILE.py:FUNCTION"`, a function (shape, classes) -> `nn.Module`, which is trained first, or a network
            that is trained already. Such a network gets images normalised by mean and standard deviation of the training
            split; `teacher_pixels` (`"unit"`, `"signed"`, `"imagenet"`, `"0.5:0.25"`) says what it was trained on, for
            `load_teacher` with a file that does not say it too. A warning says where it may be misread.
        student: the same; a network begins with the weights that it has (default: convnet of width 32).
        seed: everything random follows from it.
        out: a folder for the run as `refluence transfer` writes it. The same call continues a run that was stopped. None:
            nothing is written.
        options: fields of `TransferOptions` (`epochs`, `load_teacher`, `teacher_pixels`, `temperature`, `alpha` …) and of
            `Machine`.

    Returns:
        A run: `student.net`, `accuracy`, `card`, `costs`, and `scores` where instances were weighted.

    Raises:
        InputError: what cannot run, before any work.
        RunError: numbers that are no longer finite.

    Example:
        >>> import refluence as rf
        >>> run = rf.transfer("digits", "kd", teacher="convnet1:8", student="convnet1:4", epochs=1)
        >>> run.student.model.name
        'convnet1'
    """
    keywords.check(options, keywords.names(TransferOptions) | keywords.names(Machine), transfer)
    check_mechanism(mechanism)
    asked = keywords.transfer({**options, "teacher": teacher, "student": student})
    comparing = Comparing(methods=(mechanism,), transfer=asked, seeds=1, seed=SeedOptions(seed=seed).seed, controls=False)
    if not comparing.of_students:
        raise InputError(f"{stated('mechanism', mechanism)}: it makes a small set, rf.distill does that")
    folder, session = keywords.folder(out), student_session(data, options, asked)
    (job,) = comparing.jobs(session.dataset)
    assert isinstance(job, StudentJob), "of a mechanism"
    with device.threads(keywords.threads(session, folder)):
        if folder is None:
            result, card = make(job, session, None)
            assert isinstance(result.artifact, Student), "what transfers make"
            accuracy = judgement(result.artifact, session, job.split, job.what)["accuracy"]
            measured = next((each for each in result.beside if isinstance(each, ScoreTable)), None)
            return StudentRun(job, result.artifact, card, accuracy, measured=measured)
        make_in(job, asked, session, folder, page=report.write)
    return StudentRun.load(folder, job)
