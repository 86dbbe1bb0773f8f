"""The teacher of a transfer: a network that is trained first as a need (needs.py), or one whose weights are there already.

A teacher is trained as the student without a teacher is (`scratch`), by the numbers that are asked for and not by those of an
arm: the arms of a comparison share it, one a seed.
"""

from __future__ import annotations

import copy
import math
import shutil
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.arm import Arm
from refluence.data import Dataset
from refluence.data.foreign import doubts, mean_and_std, refuse_pixels
from refluence.errors import InputError, called, option, stated
from refluence.files import Json
from refluence.jobs.catalogue import methods
from refluence.jobs.job import StudentJob
from refluence.jobs.needs import key, obtain
from refluence.jobs.session import Session
from refluence.models import ModelSpec, network
from refluence.models.custom import trained_spec
from refluence.models.pretrained import head_of, load_teacher
from refluence.models.renormalised import Normalisation, Renormalised
from refluence.models.user_file import Maker
from refluence.options import TransferOptions
from refluence.run import checkpoint
from refluence.run.drive import drive
from refluence.run.folder import locked
from refluence.seeds import streams
from refluence.transfer.artifact import CARD, Student, save_network
from refluence.transfer.head import fit_head
from refluence.transfer.job import HEAD, KEY, TEACHER, Loaded, Teacher, Transferring, settings_for
from refluence.transfer.mechanism import Mechanism
from refluence.transfer.settings import Settings
from refluence.work import Artifact, Prepared

SCRATCH = Arm("scratch")
WIDTH = 128  # of a ConvNet that is a teacher, where its name says none


@dataclass(frozen=True)
class TeacherNeed:
    """A teacher that is trained here."""

    teacher: Teacher
    seed: int

    name: ClassVar[str] = "teacher"

    @property
    def plan(self) -> Transferring:
        """It is a student without a teacher."""
        mechanism = methods()[SCRATCH.method]
        assert isinstance(mechanism, Mechanism), "the package's own"
        return Transferring(mechanism, SCRATCH, self.teacher.settings)

    def rng(self, purpose: str, index: int = 0, /) -> torch.Generator:
        """Streams of its own: a student of the same architecture must not begin as its teacher did, in the same batches."""
        return streams(self.seed)(f"taught-first/{purpose}", index)

    @property
    def facts(self) -> Json:
        """Everything that decides it beside data and machine."""
        return {"model": self.teacher.model.to_json(), KEY: self.teacher.settings.to_json(), "seed": self.seed}

    def make(self, session: Session, folder: Path | None) -> dict[str, Tensor]:
        """Its tensors by name, behind `teacher/`. In `folder` it lies as `model.safetensors`, with its card, too."""
        plan, dataset = self.plan, session.dataset
        work = plan.open(dataset, self.teacher.model, self.rng, session.compute, Prepared())
        result, costs = drive(work, folder, f"teacher seed {self.seed}", session.driver)
        made = result.artifact
        assert isinstance(made, Student), "what a transfer makes"
        if folder is not None:
            card = {"seed": self.seed, "source": dataset.source, "model": made.model.to_json(), **result.card, **costs}
            save_network(folder, made, card)
            shutil.rmtree((folder / checkpoint.NAME).parent, ignore_errors=True)  # it lies there whole
        return self.tensors(made)

    def tensors(self, made: Artifact) -> dict[str, Tensor]:
        """The tensors of a teacher by name, behind `teacher/`."""
        assert isinstance(made, Student), "what a transfer makes"
        return {f"{TEACHER}{name}": tensor for name, tensor in made.state().items()}


@dataclass(frozen=True)
class HeadNeed:
    """A new last layer for a loaded teacher that was trained on other classes."""

    teacher: Teacher
    seed: int

    name: ClassVar[str] = "teacher"

    @property
    def facts(self) -> Json:
        """Everything that decides it beside data and machine."""
        assert self.teacher.loaded is not None, "it is loaded"
        return {"model": self.teacher.model.to_json(), "sha256": self.teacher.loaded.sha256, "seed": self.seed}

    def make(self, session: Session, folder: Path | None) -> dict[str, Tensor]:
        """Its `weight` and `bias`. In `folder` the whole teacher lies as `model.safetensors`, with its card, too."""
        assert self.teacher.loaded is not None, "it is loaded"
        net, dataset = copy.deepcopy(self.teacher.loaded.net), session.dataset
        assert isinstance(net, Renormalised), "as models/pretrained.py gives them"
        session.reporter.say(f"teacher seed {self.seed}: a last layer for {len(dataset.classes)} classes is trained first")
        fitted = fit_head(net, dataset, streams(self.seed), session.compute.device)
        last = head_of(fitted.net)
        if folder is not None:
            save_network(folder, _student(self.teacher.model, fitted, dataset), {"seed": self.seed, "source": dataset.source})
        return {f"{HEAD}weight": last.weight.detach().cpu(), f"{HEAD}bias": last.bias.detach().cpu()}


def need_of(job: StudentJob) -> TeacherNeed | HeadNeed | None:
    """What the teacher of a job needs beforehand."""
    teacher = job.plan.teacher
    if teacher is None or job.plan.teaches_itself:
        return None
    if teacher.loaded is None:
        return TeacherNeed(teacher, job.seed)
    return HeadNeed(teacher, job.seed) if teacher.loaded.head else None


def prepare(job: StudentJob, session: Session, shared: Path | None) -> Prepared:
    """The tensors of what a teacher needs first, once for all who share it; nothing where it needs nothing."""
    need = need_of(job)
    return Prepared() if need is None else obtain(need, session, shared)


def place(job: StudentJob, session: Session, shared: Path | None) -> Path | None:
    """The folder in `shared` where the teacher of this job lies; None where it has none."""
    need, teacher = need_of(job), job.plan.teacher
    if shared is None or teacher is None or job.plan.teaches_itself:
        return None
    if need is None:
        assert teacher.loaded is not None, "else it is trained"
        return shared / f"{TeacherNeed.name}-{teacher.loaded.sha256[:12]}"
    return shared / f"{need.name}-{key(need, session)}"


def kept(job: StudentJob, session: Session, place: Path, prepared: Prepared) -> Student:
    """The teacher of a job, which then lies in `place` with its card."""
    teacher = network_of(equipped(job.plan, session.dataset), prepared, session, job.seed)
    assert teacher is not None, "the job has one"
    if not (place / CARD).exists():
        with locked(place, wait=math.inf):  # another job of this comparison may write it just now
            if not (place / CARD).exists():
                save_network(place, teacher, {"source": session.dataset.source})
    return teacher


def network_of(plan: Transferring, prepared: Prepared, session: Session, seed: int) -> Student | None:
    """The teacher as it was before the student began; None where there is none."""
    net = plan.teacher_net(prepared, streams(seed))
    return None if plan.teacher is None or net is None else _student(plan.teacher.model, net, session.dataset)


def _student(model: ModelSpec, net: nn.Module, dataset: Dataset) -> Student:
    """A network with what its images are normalised by: its own numbers, where it was loaded with such."""
    if isinstance(net, Renormalised):
        return Student(net.own(), model, dataset.classes, *net.theirs)
    return Student(net, model, dataset.classes, dataset.mean, dataset.std)


def teacher_of(asked: TransferOptions, dataset: Dataset) -> Teacher | None:
    """The teacher that is asked for; None where none is.

    Raises:
        InputError: a network or weights that cannot be a teacher here.
    """
    shape, classes = dataset.shape, len(dataset.classes)
    named = asked.teacher if isinstance(asked.teacher, str) else ""
    settings = settings_for(None, asked, network=named, text=is_text(dataset))
    with called(model="teacher", pixels="teacher_pixels"):
        theirs = _pixels(asked, dataset)
        if isinstance(asked.teacher, nn.Module):
            if asked.load_teacher is not None:
                raise InputError(f"{option('load_teacher', asked.load_teacher)}: teacher is a network that is trained already")
            return _warned(_handed_over(asked.teacher, theirs, dataset, settings), dataset)
        if asked.load_teacher is not None:
            return _loaded(asked.load_teacher, asked.teacher, theirs, dataset, settings)
        if asked.teacher is None:
            return None
        return Teacher(network(asked.teacher, shape, classes, convnet=WIDTH), settings)


def _pixels(asked: TransferOptions, dataset: Dataset) -> Normalisation | None:
    """What the pixels of a teacher that is trained already were normalised by, where that is asked for."""
    if (text := asked.teacher_pixels) is None:
        return None
    refuse_pixels(dataset, text)
    if asked.load_teacher is None and not isinstance(asked.teacher, nn.Module):
        loaded = option("load_teacher", "FILE")
        raise InputError(f"{stated('teacher_pixels', text)}: it is for a teacher that is trained already: add {loaded}")
    return mean_and_std(text, dataset)


def _handed_over(net: nn.Module, theirs: Normalisation | None, dataset: Dataset, settings: Settings) -> Teacher:
    """A trained network that was given in Python."""
    spec, ours = trained_spec(net, dataset.shape, len(dataset.classes)), (dataset.mean, dataset.std)
    own = spec.bare(streams(0)("teacher-network", 0)).eval()
    seen = own if theirs is None else Renormalised(own, ours, theirs).eval()
    mean, std = theirs or ours
    return Teacher(spec, settings, Loaded(spec.sha256, mean, std, False, spec.name, seen))


def _loaded(
    where: str, model: str | Maker | None, theirs: Normalisation | None, dataset: Dataset, settings: Settings
) -> Teacher:
    """A teacher whose weights are there already, as the data are normalised here. `theirs`: where the file does not say it."""
    found = load_teacher(where, model, dataset.shape, dataset.classes)
    unsaid = not found.mean and not is_text(dataset)
    if theirs is not None:
        if not unsaid:
            raise InputError(
                f"{option('load_teacher')} {where} says itself how pixels are normalised: leave out {option('pixels')}"
            )
        found = replace(found, mean=theirs[0], std=theirs[1])
    net = found.net if is_text(dataset) else found.beside(dataset.mean, dataset.std)
    loaded = Loaded(found.sha256, found.mean, found.std, found.needs_head, where, net)
    teacher = Teacher(found.spec, settings, loaded)
    return _warned(teacher, dataset) if unsaid else teacher


def _warned(teacher: Teacher, dataset: Dataset) -> Teacher:
    """The teacher; a warning where it may be misread."""
    assert teacher.loaded is not None, "it is there already"
    net = teacher.loaded.net
    assert net is not None, "it is there already"
    if is_text(dataset):
        return teacher
    if isinstance(net, Renormalised):
        dataset = dataset.normalised_as(*net.theirs)
        net = net.own()
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    if (doubt := doubts(net, dataset, device)) is not None:
        warnings.warn(f"the teacher {teacher.loaded.where} may be misread: {doubt}", stacklevel=2)
    return teacher


def equipped(plan: Transferring, dataset: Dataset) -> Transferring:
    """The plan with the weights of a teacher that was loaded, which neither JSON nor other processes get: read again.

    Raises:
        InputError: other weights than before, or a network that was given in Python.
    """
    teacher = plan.teacher
    if teacher is None or teacher.loaded is None or teacher.loaded.net is not None:
        return plan
    loaded, where = teacher.loaded, teacher.loaded.where
    if where.endswith("()"):
        raise InputError(f"the teacher, {where}, was given in Python: hand it over again, with teacher=, in one process")
    with called(model="teacher"):
        found = load_teacher(where, teacher.model, dataset.shape, dataset.classes)
    if found.sha256 != loaded.sha256:
        raise InputError(f"{option('load_teacher', where)}: it has changed since the run began")
    found = replace(found, mean=loaded.mean, std=loaded.std)  # as it was read then, where its file does not say it
    net = found.net if is_text(dataset) else found.beside(dataset.mean, dataset.std)
    return replace(plan, teacher=replace(teacher, loaded=replace(loaded, net=net)))


def is_text(dataset: Dataset) -> bool:
    """Whether the instances are texts."""
    return len(dataset.train.images.shape) == 2
