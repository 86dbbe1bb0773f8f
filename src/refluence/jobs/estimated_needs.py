"""What sets and their judges need first, as an estimate has it: a few steps measured, and a stand-in for the whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from refluence.generate.denoiser import Denoiser
from refluence.generate.job import Sampling, equipped
from refluence.generate.latent_work import LatentWork
from refluence.generate.surrogate import Surrogate
from refluence.generate.trajectory import Trajectory
from refluence.jobs import denoisers
from refluence.jobs.denoisers import DenoiserNeed, MinimaxNeed, SurrogateNeed, TrajectoryNeed
from refluence.jobs.job import ArmJob, Job
from refluence.jobs.needs import Need, key, obtain
from refluence.jobs.quality import surrogate_of
from refluence.jobs.session import Session
from refluence.jobs.source_network import need_of, taught_by
from refluence.jobs.teachers import TeacherNeed
from refluence.work import Prepared, Stepping

CHECKPOINTS = 4
"""Of a surrogate that stands in: how many will be retained is not known before."""


def judges(job: ArmJob, session: Session) -> list[TeacherNeed | SurrogateNeed]:
    """What a set is judged and measured by that is trained first."""
    if not isinstance(job, Job):
        return []
    needs: list[TeacherNeed | SurrogateNeed] = [taught_by(p, session.dataset) for p in job.protocols if p.taught]
    if (how := job.quality) is not None:
        needs += [surrogate_of(how)]
        needs += [] if how.weights else [need_of(how.network, session.dataset, how.size)]
    return needs


@dataclass
class Needed:
    """Seconds of each need, once for all arms and seeds that share it. `stepping`: the seconds of all steps, from a few."""

    stepping: Callable[[Stepping], float]
    seconds: dict[str, tuple[str, float]] = field(default_factory=dict)

    def of(self, jobs: Sequence[ArmJob], session: Session) -> list[tuple[str, float]]:
        """What the jobs need, in words, and its seconds; the session has stand-ins then."""
        for job in jobs:
            if isinstance(job, Job) and isinstance(job.plan, Sampling):
                own = replace(job, plan=equipped(job.plan, session.dataset))
                denoisers.prepare(own, session, None, obtained=self.obtained)
            for need in judges(job, session):
                self.obtained(need, session, None)
        return list(self.seconds.values())

    def obtained(self, need: Need, session: Session, place: Path | None) -> Prepared:
        """A stand-in for the need, which the session remembers."""
        if not isinstance(need, (DenoiserNeed, MinimaxNeed, TrajectoryNeed, SurrogateNeed, TeacherNeed)):
            return obtain(need, session, place)
        name = key(need, session)
        if name not in session.made:
            seconds, tensors = self._begun(need, session)
            self.seconds[name] = need.name, seconds
            session.made[name] = Prepared(tensors)
        return session.made[name]

    def _begun(
        self, need: DenoiserNeed | MinimaxNeed | TrajectoryNeed | SurrogateNeed | TeacherNeed, session: Session
    ) -> tuple[float, dict[str, Tensor]]:
        if isinstance(need, TeacherNeed):
            teacher = need.plan.steady().open(session.dataset, need.teacher.model, need.rng, session.compute, Prepared())
            return self.stepping(teacher), need.tensors(teacher.artifact())
        if isinstance(need, SurrogateNeed):
            return self._surrogate(need, session)
        work = need.work(session)
        parts = work.parts() if isinstance(work, LatentWork) else (work,)
        seconds, made = sum(self.stepping(part) for part in parts), work.artifact()
        assert isinstance(made, (Denoiser, Trajectory)), "what these works make"
        return seconds, made.tensors() if isinstance(need, DenoiserNeed) and isinstance(made, Denoiser) else made.state()

    def _surrogate(self, need: SurrogateNeed, session: Session) -> tuple[float, dict[str, Tensor]]:
        """The looks at the checkpoints of its training: one look's stands for all that are retained."""
        trained = self.obtained(need.trajectory, session, None)
        settings = need.guide.settings
        looks = settings.epochs + 1 if settings.regular is None else settings.regular
        first = {name: tensor for name, tensor in trained.tensors.items() if name.startswith("0.")}
        looking = replace(need, guide=replace(need.guide, settings=replace(settings, regular=None))).work(
            session, Prepared(first)
        )
        begin = time.perf_counter()
        for _ in looking.steps():
            pass
        seconds = looks * (time.perf_counter() - begin)
        one, count = looking.artifact(), min(CHECKPOINTS, looks)
        made = Surrogate(
            one.model, one.checkpoints * count, one.gradients * count, tuple(range(count)), one.rates * count, one.mean, one.std
        )
        return seconds, made.state()
