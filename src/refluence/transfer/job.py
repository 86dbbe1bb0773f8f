"""A transfer as a job: its plan with every default resolved, and the work that the plan opens."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

from torch import Tensor, nn

from refluence.arm import Arm
from refluence.compute import Compute
from refluence.data import Dataset
from refluence.errors import InputError
from refluence.files import Json
from refluence.influence.weighting import Weighting
from refluence.models import ModelSpec, read_spec
from refluence.models.pretrained import set_head
from refluence.options import TransferOptions
from refluence.seeds import Rng
from refluence.transfer import kd, semi_settings
from refluence.transfer.arms import WEIGHTS, changes, check, numbers, own_keys
from refluence.transfer.artifact import Student
from refluence.transfer.mechanism import Mechanism
from refluence.transfer.semi_settings import SemiSettings
from refluence.transfer.settings import CPU, CUT, DKD, LIGHT, LIGHT_NETWORKS, ONSET, PAPER, TEXT, Settings
from refluence.work import Cost, Prepared, Work

__all__ = ["KEY", "Loaded", "Teacher", "Transferring", "check", "own_keys", "plan_from", "settings_for"]

KEY = "transfer"  # in JSON, what tells these plans from others
HEAD = "head/"  # before those of a last layer that is trained for a loaded teacher
TEACHER = "teacher/"  # before the names of its tensors, where a teacher is prepared
SHORT = 4  # steps of a block that is measured


@dataclass(frozen=True)
class Loaded:
    """A teacher's weights that are there already: their digest, and what JSON does not keep of them.

    `mean` and `std`: what the teacher's own images are normalised by. `head`: its last layer is a new one, trained first.
    """

    sha256: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    head: bool = False
    where: str = field(default="", compare=False)
    net: nn.Module | None = field(default=None, compare=False, repr=False)

    def __reduce__(self) -> tuple[type[Loaded], tuple[object, ...]]:
        """Another process reads the weights again from `where`."""
        return Loaded, (self.sha256, self.mean, self.std, self.head, self.where)


@dataclass(frozen=True)
class Teacher:
    """A teacher's network and its weights: `loaded`, or trained first by the mechanism `scratch` with `settings`."""

    model: ModelSpec
    settings: Settings
    loaded: Loaded | None = None


@dataclass(frozen=True)
class Transferring:
    """Everything that decides a student beside seed and network, resolved.

    `block`: steps of the optimiser between two checkpoints, where they are not the usual ones; it decides no number.
    """

    mechanism: Mechanism
    arm: Arm
    settings: Settings
    weighting: Weighting = field(default_factory=Weighting)
    teacher: Teacher | None = None
    block: int = 0

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

    @property
    def summary(self) -> tuple[str, str]:
        """The mechanism and its weights in words, for the card."""
        return self.mechanism.summary, WEIGHTS.get(self.weighting.kind, "every instance weighs the same")

    @property
    def iterations(self) -> int:
        """Epochs of the student, or of `semi` steps: what an arm at equal seconds has more of."""
        return self.settings.length

    def with_iterations(self, iterations: int, size: str) -> Transferring:
        """The same with that many epochs or steps."""
        return replace(self, settings=self.settings.lasting(iterations))

    def unweighted(self) -> Transferring:
        """Plain knowledge distillation with the same numbers, or `semi` itself."""
        mechanism = self.mechanism if self.teaches_itself else kd.METHOD
        return replace(self, mechanism=mechanism, weighting=Weighting())

    @property
    def teaches_itself(self) -> bool:
        """Whether the teacher begins untrained, beside its student."""
        return self.mechanism.schedule == "semi"

    def check_model(self, model: ModelSpec) -> None:
        """`InputError` for a network without features, by which some weights go."""
        if self.weighting.kind == "adapt" and not model.width:
            raise InputError(f"{model.name} has no last linear layer, and so no features: adapt goes by them")

    def remarks(self, dataset: Dataset, model: ModelSpec, seed: int, compute: Compute) -> list[str]:
        """What is worth a line before the run: how many rows there are, and sizes of networks that are odd."""
        from refluence.transfer.check import remarks

        return [f"{len(dataset.train):,} training rows", *remarks(self, model)]

    def steady(self) -> Transferring:
        """The same in short blocks, for an estimate: a few of the usual ones may be all of the run."""
        return replace(self, block=SHORT)

    def shortened(self, steps: int, rows: int) -> Transferring:
        """The same with that many epochs or steps, of its teacher too: does it start? Two with weights, which come later."""
        teacher, own = self.teacher, max(steps, 2) if self.weighting.scored else steps
        if teacher is not None:
            teacher = replace(teacher, settings=teacher.settings.tried(steps, rows))
        return replace(self, settings=self.settings.tried(own, rows), teacher=teacher)

    def open(self, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, prepared: Prepared) -> Work:
        """The work at its first step. `prepared`: the teacher's tensors, `teacher/NAME`, where it was trained first."""
        if self.teaches_itself:
            from refluence.transfer.semi_work import SemiWork

            own = model if self.teacher is None else self.teacher.model
            return SemiWork(self, dataset, model, rng, compute, own.bare(rng("teacher-network", 0)))
        from refluence.transfer.work import TransferWork

        teacher = self.teacher_net(prepared, rng)
        return TransferWork(self, dataset, model, rng, compute, None if teacher is None else teacher.to(compute.device))

    def teacher_net(self, prepared: Prepared, rng: Rng) -> nn.Module | None:
        """The teacher in evaluation mode, on the CPU: loaded, or of `prepared`; None where there is none."""
        if self.teacher is None:
            return None
        if self.teacher.loaded is not None:
            assert self.teacher.loaded.net is not None, "handed over with the plan"
            net = copy.deepcopy(self.teacher.loaded.net)
            if self.teacher.loaded.head:
                set_head(net, linear(prepared.tensors[f"{HEAD}weight"], prepared.tensors[f"{HEAD}bias"]))
            return net.eval()
        net = self.teacher.model.bare(rng("teacher-network", 0))
        net.load_state_dict({k.removeprefix(TEACHER): t for k, t in prepared.tensors.items() if k.startswith(TEACHER)})
        return net.eval()

    def ahead(self, work: Work) -> list[Cost]:
        """The scorings of instances, which come beside the steps."""
        from refluence.transfer.work import TransferWork

        return work.costs() if isinstance(work, TransferWork) else []

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        own: Json = {KEY: self.settings.to_json(), "weighting": asdict(self.weighting)}
        if self.teacher is None:
            return own
        loaded = self.teacher.loaded
        there = None if loaded is None else {name: getattr(loaded, name) for name in ("sha256", "mean", "std", "head", "where")}
        return {
            **own,
            "teacher": {"model": self.teacher.model.to_json(), KEY: self.teacher.settings.to_json(), "loaded": there},
        }


def settings_for(
    arm: Arm | None, asked: TransferOptions, mechanism: Mechanism | None = None, *, network: str, text: bool, cut: bool = False
) -> Settings:
    """The numbers of the size, then what is asked, then what the arm says (None: of a teacher that is trained first).

    `network`: the name of the one that learns. `cut`: it has some of the layers of a network of texts.
    """
    paper = LIGHT if network in LIGHT_NETWORKS else PAPER
    size = (CUT if cut else TEXT) if text else paper if asked.size == "paper" else CPU
    if mechanism is not None and mechanism.schedule == "semi":
        size = semi_settings.PAPER if asked.size == "paper" else semi_settings.CPU
    names = [name for name in own_keys(mechanism) if getattr(asked, name, None) is not None]
    said = {name: getattr(asked, name) for name in names}
    if arm is None:
        settings = size.with_(**said)
        return settings.with_(epochs=asked.teacher_epochs or settings.epochs)
    said |= changes(arm, mechanism)
    if isinstance(size, SemiSettings) and "steps" in said:
        size = size.with_(wait=size.lasting(said["steps"]).wait)
    if said.get("loss") == "dkd" and (mechanism is None or mechanism.name != "scratch"):
        size = DKD if size == CPU else size.with_(onset=ONSET) if size == paper else size
    return size.with_(**said)


def plan_from(arm: Arm, mechanism: Mechanism, stored: Json) -> Transferring:
    """The plan that `Transferring.to_json` wrote. Weights of a teacher that was loaded are not in it."""
    weighting: Json = {k: math.inf if v == "inf" else v for k, v in stored["weighting"].items()}
    teacher = None
    if (own := stored.get("teacher")) is not None:
        there = own["loaded"]
        loaded = (
            None
            if there is None
            else Loaded(there["sha256"], tuple(there["mean"]), tuple(there["std"]), there["head"], there["where"])
        )
        teacher = Teacher(read_spec(own["model"]), Settings(**own[KEY]), loaded)
    return Transferring(mechanism, arm, numbers(mechanism)(**stored[KEY]), Weighting(**weighting), teacher)


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """The linear layer of these tensors."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
