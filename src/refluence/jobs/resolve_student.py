"""From what is asked for to a job of a transfer: every default resolved, and what cannot run refused before any work."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from refluence.arm import Arm
from refluence.data import Dataset
from refluence.errors import InputError, called, option
from refluence.jobs.job import StudentJob
from refluence.jobs.teachers import is_text
from refluence.models import ModelSpec, network
from refluence.models.custom import trained_spec
from refluence.models.text import TextSpec, read_text_name
from refluence.options import SourceOptions, TransferOptions
from refluence.transfer.arms import weighting_of
from refluence.transfer.check import check
from refluence.transfer.halves import halves
from refluence.transfer.job import Teacher, Transferring, settings_for
from refluence.transfer.mechanism import Mechanism

WIDTH = 32  # of a ConvNet that is a student, where its name says none
ROWS = 10_000  # training rows at size cpu, where no other number is asked for


def rows_of_size(options: SourceOptions, size: str) -> SourceOptions:
    """How the source is read for students: at size cpu at most `ROWS` training rows, unless another number is asked for."""
    return replace(options, rows=ROWS) if size == "cpu" and options.rows is None else options


def resolve_student(
    asked: TransferOptions, arm: Arm, dataset: Dataset, seed: int, mechanism: Mechanism, teacher: Teacher | None
) -> StudentJob:
    """The job of an arm and a seed on a dataset. `teacher`: the one that is asked for (`teacher_of`), the same for every arm.

    Raises:
        InputError: what cannot run.
    """
    text = is_text(dataset)
    student = asked.student or ("minilm-2" if text else "convnet")
    with called(model="student"):
        if isinstance(student, nn.Module):  # it begins with the weights that it has
            model: ModelSpec = trained_spec(student, dataset.shape, len(dataset.classes))
        else:
            model = network(student, dataset.shape, len(dataset.classes), convnet=WIDTH)
    alone = mechanism.teacher == "none"
    if teacher is None and not alone:
        example = option("teacher", "convnet:128")
        raise InputError(f"{option('teacher')} is missing: '{arm.name}' learns from one, for example {example}")
    cut = isinstance(model, TextSpec) and read_text_name(model.name).layers is not None
    settings = settings_for(arm, asked, mechanism, network=model.name, text=text, cut=cut)
    if settings.steps:
        also = len(halves(dataset.val)[0]) if settings.also == "validation" else 0
        settings = settings.in_epochs(len(dataset.train) + also)
    plan = Transferring(mechanism, arm, settings, weighting_of(arm, mechanism), teacher)
    if alone and not plan.teaches_itself:
        plan = replace(plan, teacher=None)
    check(plan, dataset, model)
    return StudentJob(seed, plan, model, arm, asked.split)
