"""What sampled sets need first, as an estimate has it: a few steps measured; what there is then stands in for the whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from refluence.generate.denoiser import Denoiser
from refluence.generate.job import Sampling, equipped
from refluence.generate.surrogate import Surrogate
from refluence.jobs import denoisers
from refluence.jobs.denoisers import DenoiserNeed, MinimaxNeed, SurrogateNeed
from refluence.jobs.job import ArmJob, Job
from refluence.jobs.needs import Need, key, obtain
from refluence.jobs.session import Session
from refluence.work import Prepared, Work

CHECKPOINTS = 4
"""Of a surrogate that stands in: how many will be retained is not known before."""


@dataclass
class Needed:
    """Seconds of each need, once for all arms and seeds that share it. `stepping`: the seconds of a work, from a few steps."""

    stepping: Callable[[Work], float]
    seconds: dict[str, tuple[str, float]] = field(default_factory=dict)

    def of(self, jobs: Sequence[ArmJob], session: Session) -> list[tuple[str, float]]:
        """What the jobs need, in words, and its seconds; the session has stand-ins then."""
        for job in jobs:
            if isinstance(job, Job) and isinstance(job.plan, Sampling):
                own = replace(job, plan=equipped(job.plan, session.dataset))
                denoisers.prepare(own, session, None, obtained=self.obtained)
        return list(self.seconds.values())

    def obtained(self, need: Need, session: Session, place: Path | None) -> Prepared:
        """A stand-in for the need, which the session remembers."""
        if not isinstance(need, (DenoiserNeed, MinimaxNeed, SurrogateNeed)):
            return obtain(need, session, place)
        name = key(need, session)
        if name not in session.made:
            seconds, tensors = self._begun(need, session)
            self.seconds[name] = need.name, seconds
            session.made[name] = Prepared(tensors)
        return session.made[name]

    def _begun(self, need: DenoiserNeed | MinimaxNeed | SurrogateNeed, session: Session) -> tuple[float, dict[str, Tensor]]:
        if isinstance(need, SurrogateNeed):
            return self._surrogate(need, session)
        work = need.work(session)
        seconds, made = self.stepping(work), work.artifact()
        assert isinstance(made, Denoiser), "what these works make"
        return seconds, made.state()

    def _surrogate(self, need: SurrogateNeed, session: Session) -> tuple[float, dict[str, Tensor]]:
        """Its training and the looks at its checkpoints; one look's stands for all that are retained."""
        settings = need.guide.settings
        looks = settings.epochs + 1 if settings.regular is None else settings.regular
        looking = replace(need, guide=replace(need.guide, settings=replace(settings, epochs=0, regular=None))).work(session)
        begin = time.perf_counter()
        for _ in looking.steps():
            pass
        seconds = looks * (time.perf_counter() - begin)
        work = need.work(session)
        seconds += self.stepping(work) * work.trained / work.total
        one, count = looking.artifact(), min(CHECKPOINTS, looks)
        made = Surrogate(
            one.model, one.checkpoints * count, one.gradients * count, tuple(range(count)), one.rates * count, one.mean, one.std
        )
        return seconds, made.state()
