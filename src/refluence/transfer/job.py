"""A transfer as a job: its plan with every default resolved, and the work that the plan opens."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import torch
from torch import nn

from refluence.arm import Arm
from refluence.compute import Compute
from refluence.data import Dataset
from refluence.files import Json
from refluence.influence.weighting import Weighting
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.transfer.artifact import Student
from refluence.transfer.mechanism import Mechanism
from refluence.transfer.settings import Settings
from refluence.work import Cost, Prepared, Work

TEACHER = "teacher/"  # before the names of its tensors, where a teacher is prepared


@dataclass(frozen=True)
class Loaded:
    """A teacher's weights that are there already: their digest, and what JSON does not keep of them.

    `mean` and `std`: what the teacher's own images are normalised by.
    """

    sha256: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    where: str = field(default="", compare=False)
    net: nn.Module | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Teacher:
    """A teacher's network and its weights: `loaded`, or trained first by the mechanism `scratch` with `settings`."""

    model: ModelSpec
    settings: Settings
    loaded: Loaded | None = None


@dataclass(frozen=True)
class Transferring:
    """Everything that decides a student beside seed and network, resolved."""

    mechanism: Mechanism
    arm: Arm
    settings: Settings
    weighting: Weighting = field(default_factory=Weighting)
    teacher: Teacher | None = None

    artifact: ClassVar[type[Student]] = Student
    family: ClassVar[str] = "transfer"

    @property
    def declared(self) -> Mechanism:
        """The method."""
        return self.mechanism

    @property
    def weighs_student(self) -> bool:
        """Whether the student's instances are weighted."""
        return self.weighting.scored and (self.mechanism.weighs or self.mechanism.teacher != "weighted")

    def shortened(self, epochs: int) -> Transferring:
        """The same with that many epochs: does it start?"""
        return replace(self, settings=self.settings.with_(epochs=epochs))

    def open(self, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, prepared: Prepared) -> Work:
        """The work at its first step. `prepared`: the teacher's tensors, `teacher/NAME`, where it was trained first."""
        from refluence.transfer.work import TransferWork

        return TransferWork(self, dataset, model, rng, compute, self._teacher(prepared, rng, compute.device))

    def _teacher(self, prepared: Prepared, rng: Rng, device: torch.device) -> nn.Module | None:
        if self.teacher is None:
            return None
        if self.teacher.loaded is not None:
            assert self.teacher.loaded.net is not None, "handed over with the plan"
            return self.teacher.loaded.net.to(device)
        net = self.teacher.model.bare(rng("teacher-network", 0)).to(device)
        net.load_state_dict({k.removeprefix(TEACHER): t for k, t in prepared.tensors.items() if k.startswith(TEACHER)})
        return net.eval()

    def ahead(self, work: Work) -> list[Cost]:
        """Nothing beside the steps."""
        return []

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        own: Json = {"transfer": asdict(self.settings), "weighting": asdict(self.weighting)}
        if self.teacher is None:
            return own
        loaded = self.teacher.loaded
        there = (
            None if loaded is None else {"sha256": loaded.sha256, "mean": loaded.mean, "std": loaded.std, "where": loaded.where}
        )
        return {
            **own,
            "teacher": {"model": self.teacher.model.to_json(), "transfer": asdict(self.teacher.settings), "loaded": there},
        }
