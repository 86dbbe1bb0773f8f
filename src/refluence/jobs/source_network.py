"""A network that is trained on the source once, and shared by all arms and seeds: the teacher that labels the images of a set.

In RDED (arXiv 2312.03526), and so in IGD's tables of ImageNet-1K, one network trained on the whole source gives the labels of
every image as it is augmented and mixed, whichever network learns from them. It is trained as a teacher of a transfer is
(teachers.py): at size paper by its published numbers, and for a `-cpu` protocol on at most `SHORT` images in all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from refluence.data import Dataset, DistilledSet
from refluence.evaluate.protocol import Protocol
from refluence.jobs.measuring import spec_of
from refluence.jobs.needs import obtain
from refluence.jobs.session import Session
from refluence.jobs.teachers import TeacherNeed
from refluence.models import ModelSpec
from refluence.models.renormalised import Renormalised
from refluence.transfer.job import Teacher
from refluence.transfer.settings import CPU, PAPER

SHORT = 100_000
"""Images that a network sees at size cpu, epochs counted; at least one epoch."""
SEED = 0
TEACHERS = {"cpu": "resnet10", "paper": "resnet18"}
SHARED = "shared"


def need_of(model: ModelSpec, dataset: Dataset, size: str) -> TeacherNeed:
    """Its training, as a need (needs.py)."""
    short = CPU.with_(epochs=max(1, min(CPU.epochs, SHORT // len(dataset.train))))
    return TeacherNeed(Teacher(model, PAPER if size == "paper" else short), SEED)


def source_network(need: TeacherNeed, session: Session, shared: Path | None) -> nn.Module:
    """The trained network, on the CPU in evaluation mode, for images that are normalised as the source is."""
    net = replace(need.plan, teacher=need.teacher).teacher_net(obtain(need, session, shared), need.rng)
    assert net is not None, "the plan has a teacher"
    return net


def taught_by(protocol: Protocol, dataset: Dataset) -> TeacherNeed:
    """The training of the teacher of a protocol that learns from one."""
    size = "cpu" if protocol.short else "paper"
    return need_of(spec_of(TEACHERS[size], dataset, size), dataset, size)


def labeller(small: DistilledSet, protocol: Protocol, session: Session, shared: Path | None) -> nn.Module | None:
    """The teacher of a set under a protocol that learns from one; None for a set that has soft labels of its own."""
    if not protocol.taught or small.soft is not None:
        return None
    dataset = session.dataset
    net = source_network(taught_by(protocol, dataset), session, shared)
    own, theirs = (small.mean, small.std), (dataset.mean, dataset.std)
    return (net if own == theirs else Renormalised(net, own, theirs)).to(session.compute.device).eval()


def shared_by(folder: Path) -> Path:
    """Where what a run needs lies: beside the units of the comparison that it is one of, else in its own folder."""
    units = folder.resolve().parent.parent
    return units.parent / SHARED if units.name == "units" else folder / SHARED
