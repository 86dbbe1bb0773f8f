"""Tiny transfers: three classes, a teacher of eight channels, a student of four, and their works."""

from __future__ import annotations

import torch
from torch import nn

from refluence.arm import read_arm
from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.influence.weighting import Weighting
from refluence.models import ModelSpec
from refluence.seeds import streams
from refluence.transfer import joint, kd, scratch, staged, student, teacher
from refluence.transfer.arms import weighting_of
from refluence.transfer.job import Teacher, Transferring
from refluence.transfer.settings import Settings
from refluence.transfer.work import TransferWork
from support.tiny_data import split, tiny_dataset

MECHANISMS = {m.METHOD.name: m.METHOD for m in (scratch, kd, student, teacher, joint, staged)}
FEW = Settings(epochs=3, batch=8, lr=0.1)


def data(sizes: tuple[int, ...] = (23, 14, 19)) -> Dataset:
    """Every fourth row validates; images of one channel."""
    return split(tiny_dataset(sizes, shape=(1, 8, 8)))


def specs(dataset: Dataset) -> tuple[ModelSpec, ModelSpec]:
    """Of the teacher and the student."""
    return tuple(ModelSpec("convnet1", dataset.shape, len(dataset.classes), width=width) for width in (8, 4))


def teacher_of(dataset: Dataset) -> nn.Module:
    """Trained for a few steps."""
    net = specs(dataset)[0].fresh(torch.Generator().manual_seed(5))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    x, y = dataset.pixels(dataset.train), dataset.train.labels
    for _ in range(5):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net.eval()


def plan_of(arm: str, dataset: Dataset, settings: Settings = FEW, weighting: Weighting | None = None) -> Transferring:
    """The plan of an arm, its own numbers left out."""
    said = read_arm(arm)
    mechanism = MECHANISMS[said.method]
    weighs = weighting_of(said, mechanism) if weighting is None else weighting
    taught = None if mechanism.teacher == "none" else Teacher(specs(dataset)[0], settings)
    return Transferring(mechanism, said, settings, weighs, taught)


def work_of(
    arm: str, dataset: Dataset, settings: Settings = FEW, weighting: Weighting | None = None, seed: int = 0
) -> TransferWork:
    """A new work."""
    plan = plan_of(arm, dataset, settings, weighting)
    net = None if plan.teacher is None else teacher_of(dataset)
    return TransferWork(plan, dataset, specs(dataset)[1], streams(seed), Compute(), net)
