"""What a sampling needs beforehand: a denoiser, a fine-tuned one, the training of a surrogate, and the surrogate that guides.

Each is a need (needs.py).

All seeds and arms that need the same share it: what is trained here has a seed of its own.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from refluence.clock import Time
from refluence.data import clean
from refluence.files import Json
from refluence.generate.beforehand import SEED, Guide, Trained
from refluence.generate.denoiser import Denoiser
from refluence.generate.job import DENOISER, SURROGATE, TUNED, Sampling
from refluence.generate.latent_work import LatentWork
from refluence.generate.minimax_work import MinimaxWork
from refluence.generate.surrogate import Surrogate, TrajectorySettings
from refluence.generate.surrogate_work import SurrogateWork
from refluence.generate.training import DenoiserWork
from refluence.generate.trajectory import Trajectory, TrajectoryWork
from refluence.jobs import cleaning
from refluence.jobs.job import Job
from refluence.jobs.needs import Need, obtain
from refluence.jobs.session import Session
from refluence.models import ModelSpec
from refluence.run import checkpoint
from refluence.run.drive import drive
from refluence.seeds import streams
from refluence.work import Prepared, Result, Work

SHARED = "shared"


@dataclass(frozen=True)
class DenoiserNeed:
    """A denoiser that is trained here."""

    denoiser: Trained

    name: ClassVar[str] = "denoiser"

    @property
    def facts(self) -> Json:
        """Everything that decides it beside data and machine."""
        return {**self.denoiser.to_json(), "seed": SEED}

    def work(self, session: Session) -> DenoiserWork | LatentWork:
        """Its training at the first step."""
        return self.denoiser.open(session.dataset, streams(SEED), session.compute)

    def make(self, session: Session, folder: Path | None) -> dict[str, Tensor]:
        """Its tensors by name; in `folder` it lies as an artifact too."""
        made = _driven(self.work(session), session, folder, self.name).artifact
        assert isinstance(made, Denoiser), "what its training makes"
        return made.tensors()


@dataclass(frozen=True)
class MinimaxNeed:
    """The same denoiser after fine-tuning."""

    sampling: Sampling = field(repr=False)
    base: Prepared = field(compare=False, repr=False)

    name: ClassVar[str] = "minimax"

    @property
    def facts(self) -> Json:
        """Everything that decides it beside data and machine."""
        assert self.sampling.minimax is not None, "it is fine-tuned"
        stored = self.sampling.to_json()
        return {"denoiser": stored["denoiser"], "minimax": stored["minimax"], "seed": SEED}

    def work(self, session: Session) -> Work:
        """Its fine-tuning at the first step."""
        assert self.sampling.minimax is not None, "it is fine-tuned"
        denoiser = self.sampling.untuned(self.base)
        return MinimaxWork(denoiser, self.sampling.minimax, session.dataset, streams(SEED), session.compute)

    def make(self, session: Session, folder: Path | None) -> dict[str, Tensor]:
        """Its tensors by name; in `folder` it lies as an artifact too."""
        made = _driven(self.work(session), session, folder, self.name).artifact
        assert isinstance(made, Denoiser), "what its fine-tuning makes"
        return made.state()


@dataclass(frozen=True)
class TrajectoryNeed:
    """The training of a surrogate: the same for all that differ only in what is made of its checkpoints. `seed`: its own."""

    model: ModelSpec
    settings: TrajectorySettings
    seed: int = SEED

    name: ClassVar[str] = "trajectory"

    @property
    def facts(self) -> Json:
        """Everything that decides it beside data and machine."""
        return {"model": self.model.to_json(), "settings": asdict(self.settings), "seed": self.seed}

    def work(self, session: Session) -> TrajectoryWork:
        """The training at its first step."""
        return TrajectoryWork(self.settings, self.model, session.dataset, streams(self.seed), session.compute)

    def make(self, session: Session, folder: Path | None) -> dict[str, Tensor]:
        """The states of the network by epoch and name; they are written once, without an artifact beside."""
        made = _driven(self.work(session), session, folder, self.name, saved=False).artifact
        assert isinstance(made, Trajectory), "what its training makes"
        return made.state()


@dataclass(frozen=True)
class SurrogateNeed:
    """Retained checkpoints of a network, and the mean gradient of each class at them. `weights (N,)` of real instances.

    `seed`: of its training; what guides has another than what judges (measuring.py).
    """

    guide: Guide
    weights: Tensor | None = field(default=None, compare=False, repr=False)
    seed: int = SEED

    name: ClassVar[str] = "surrogate"

    @property
    def facts(self) -> Json:
        """Everything that decides it beside data and machine."""
        own = {"model": self.guide.model.to_json(), "settings": self.guide.settings.to_json(), "seed": self.seed}
        if self.weights is None:
            return own
        return {**own, "weights": hashlib.sha256(self.weights.double().numpy().tobytes()).hexdigest()}

    @property
    def trajectory(self) -> TrajectoryNeed:
        """Its training, which is made first."""
        return TrajectoryNeed(self.guide.model, self.guide.settings.training, self.seed)

    def work(self, session: Session, trained: Prepared) -> SurrogateWork:
        """The look at its checkpoints, of which `trained` has the states."""
        trajectory = Trajectory.from_state(self.guide.model, trained.tensors)
        return SurrogateWork(
            self.guide.settings, trajectory, session.dataset, streams(self.seed), session.compute, self.weights
        )

    def make(self, session: Session, folder: Path | None) -> Prepared:
        """Its tensors by name, and the time of its training, whoever trained it."""
        begin = Time.now()
        trained = obtain(self.trajectory, session, None if folder is None else folder.parent)
        waited = Time.now() - begin
        made = _driven(self.work(session, trained), session, folder, self.name).artifact
        assert isinstance(made, Surrogate), "what its training makes"
        return Prepared(made.state(), trained.time - waited)


Obtain = Callable[[Need, Session, Path | None], Prepared]


def prepare(job: Job, session: Session, folder: Path | None, shared: Path | None = None, obtained: Obtain = obtain) -> Prepared:
    """The tensors of all that a sampling needs. `time` is that of the weights, the denoiser and the surrogate.

    `obtained`: how each is had; an estimate has its own way.
    """
    plan = job.plan
    assert isinstance(plan, Sampling), "the job of a generated set"
    place = shared if shared is not None or folder is None else folder / SHARED
    needed = _Needed(session, place, obtained)
    if isinstance(plan.denoiser, Trained):
        needed.add(DenoiserNeed(plan.denoiser), DENOISER)
    if plan.minimax is not None:
        needed.add(MinimaxNeed(plan, needed.prepared), TUNED)
    if plan.guide is not None:
        cleaned = cleaning.prepare(job, session, folder, shared)
        weights = clean.weights_of(session.dataset, cleaned.tensors)
        needed.tensors |= cleaned.tensors
        needed.add(SurrogateNeed(plan.guide, weights), SURROGATE)
    return needed.prepared


def _driven(work: Work, session: Session, folder: Path | None, what: str, saved: bool = True) -> Result:
    """The result of a training; in `folder` its artifact and a card lie there if it is `saved`, and no checkpoint any more."""
    result, costs = drive(work, folder, what, session.driver)
    if folder is not None:
        if saved:
            result.artifact.save(folder, {"source": session.dataset.source, **result.card, **costs})
        shutil.rmtree((folder / checkpoint.NAME).parent, ignore_errors=True)
    return result


@dataclass
class _Needed:
    """What was obtained so far."""

    session: Session
    place: Path | None
    obtained: Obtain
    tensors: dict[str, Tensor] = field(default_factory=dict)
    times: dict[str, Time] = field(default_factory=dict)

    def add(self, need: Need, prefix: str) -> None:
        found = self.obtained(need, self.session, self.place)
        self.tensors |= {f"{prefix}{name}": tensor for name, tensor in found.tensors.items()}
        self.times[need.name] = found.time

    @property
    def prepared(self) -> Prepared:
        parts = {name: time.wall for name, time in self.times.items()}
        return Prepared(dict(self.tensors), sum(self.times.values(), Time()), parts)
