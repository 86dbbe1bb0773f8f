"""A sampling as a job: its plan with every default resolved, and the work that the plan opens.

What it needs beforehand (denoiser, fine-tuned denoiser, surrogate) is trained by others and comes as tensors.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from refluence.arm import Arm
from refluence.compute import Compute
from refluence.condense.ranking import Ranking, Table, table_from
from refluence.data import Dataset
from refluence.data.allocation import counts_of
from refluence.data.distilled import DistilledSet
from refluence.errors import InputError, option, stated
from refluence.files import Json
from refluence.generate.arms import VARIANTS, asked_by, check, needs_surrogate, own_keys, settings_for, weighting_of
from refluence.generate.beforehand import (
    SEED,
    Guide,
    Loaded,
    Trained,
    called_by,
    denoiser_from,
    denoiser_of,
    guide_from,
    guide_of,
)  # fmt: skip
from refluence.generate.denoiser import Denoiser, build_denoiser
from refluence.generate.extra import need_diffusers
from refluence.generate.method import Generator
from refluence.generate.minimax import MinimaxSettings, minimax_defaults
from refluence.generate.noise import described, guided_steps, steps_of
from refluence.generate.predictions import linear_abar
from refluence.generate.settings import Settings, settings_of_json
from refluence.generate.surrogate import Surrogate
from refluence.influence.weighting import Weighting
from refluence.models import ModelSpec
from refluence.options import JobOptions, SamplingOptions, SetOptions
from refluence.seeds import Rng, streams
from refluence.work import Cost, Prepared, Work

__all__ = ["KEY", "Sampling", "check", "own_keys", "plan", "plan_from"]

KEY = "sampling"  # in JSON, what tells these plans from others
DENOISER, TUNED, SURROGATE = "denoiser/", "minimax/", "surrogate/"  # before the names of their tensors
TRIED = 10  # steps from noise to image, where a plan is tried alone: some of them are guided


@dataclass(frozen=True)
class Sampling:
    """Everything that decides a sampled set beside its seed, resolved. The network of its job only judges it."""

    generator: Generator
    arm: Arm
    settings: Settings
    ipc: int
    denoiser: Trained | Loaded
    minimax: MinimaxSettings | None = None  # of fine-tuning, where the method has it and the denoiser not yet
    guide: Guide | None = None
    asked_allocation: str | None = None  # None: equal
    weighting: Weighting = field(default_factory=Weighting)
    table: Table | None = None  # of scores, by which real images weigh, if any

    iterations: ClassVar[int] = 0
    artifact: ClassVar[type[DistilledSet]] = DistilledSet
    family: ClassVar[str] = "generate"
    objective: ClassVar[None] = None
    by_scores: ClassVar[bool] = False
    ranking: ClassVar[None] = None
    usual_steps: ClassVar[int] = 0
    formation: ClassVar[int] = 1
    real_each: ClassVar[int] = 1

    @property
    def declared(self) -> Generator:
        """The method."""
        return self.generator

    @property
    def allocation(self) -> str:
        """Images per class: equal or proportional."""
        return self.asked_allocation or "equal"

    @property
    def summary(self) -> tuple[str, str]:
        """The method and its guidance in words, for the card."""
        return self.generator.summary, VARIANTS.get(self.arm.kind, "sampled without guidance")

    def ranked(self, model: ModelSpec, seed: int) -> Ranking | None:
        """None: nothing is ranked."""
        return None

    def for_data(self, dataset: Dataset) -> Sampling:
        """The same: it was made for them."""
        return self

    def in_steps(self, own: int | None, ranking: int | None) -> Sampling:
        """The same: no number of image steps changes it."""
        return self

    def with_table(self, table: Table) -> Sampling:
        """The same by this table of scores, if it goes by any."""
        return replace(self, table=table) if self.weighting.by_table else self

    def order(
        self, images: Tensor, labels: Tensor, dataset: Dataset, model: ModelSpec, rng: Rng, device: torch.device, nets: int
    ) -> Tensor | None:
        """None: pictures lie in the order in which they were sampled."""
        return None

    def with_iterations(self, iterations: int, size: str) -> Sampling:
        """The same: it has no image steps."""
        return self

    def unweighted(self) -> Sampling:
        """The same with all real images of a class alike."""
        return replace(self, weighting=Weighting())

    def with_factor(self, factor: float) -> Sampling:
        """The same from a pool of so many times the images."""
        assert self.settings.pool is not None, "of a pool"
        return replace(self, settings=replace(self.settings, pool=replace(self.settings.pool, factor=factor)))

    def shortened(self, steps: int, real_batch: int) -> Sampling:
        """The same with that many steps of each kind, of what it needs beforehand too: does it start?"""
        denoiser, guide, minimax = self.denoiser, self.guide, self.minimax
        if isinstance(denoiser, Trained):
            denoiser = denoiser.shortened(steps, real_batch)
        if guide is not None:
            guide = guide.shortened(real_batch)
        if minimax is not None:
            minimax = replace(minimax, iterations=steps, batch=min(minimax.batch, real_batch))
        table = None if self.table is None else replace(self.table, epochs=1)
        settings = replace(self.settings, batch=min(self.settings.batch, real_batch), steps=min(self.settings.steps, TRIED))
        if settings.pool is not None:
            settings = replace(settings, pool=replace(settings.pool, factor=2.0))
        ipc = min(self.ipc, steps + 1)
        return replace(self, denoiser=denoiser, guide=guide, minimax=minimax, table=table, settings=settings, ipc=ipc)

    def steady(self) -> Sampling:
        """The same: its batches are alike."""
        return self

    def ahead(self, work: Work) -> list[Cost]:
        """What the batches that were measured leave out."""
        from refluence.generate.work import SamplingWork

        assert isinstance(work, SamplingWork), "the work of this plan"
        return work.ahead()

    def check_data(self, dataset: Dataset, counts: tuple[int, ...]) -> None:
        """`InputError`, before any work, where diffusers is missing, for more steps than the schedule has, a range that no step
        falls in, and a denoiser that cfg cannot guide."""
        need_diffusers(f"the solver {self.settings.solver}")
        if self.settings.guidance.learnability and max(counts) < 2:
            raise InputError(
                f"{stated('ipc', self.ipc)}: learnability needs 2 images a class, the second for what the first left"
            )
        steps_of(self.settings, len(self._abar))
        self.remarks_on_steps()
        if isinstance(self.denoiser, Loaded) and self.denoiser.denoiser is not None and self.settings.cfg != 1:
            self.denoiser.denoiser.check_guidable()

    def check_model(self, model: ModelSpec) -> None:
        """Nothing is asked of the network that judges."""

    def remarks(self, dataset: Dataset, model: ModelSpec, seed: int, compute: Compute) -> list[str]:
        """The steps that the guided range means."""
        return self.remarks_on_steps()

    def remarks_on_steps(self) -> list[str]:
        """The same, whatever the data are."""
        if not self.settings.guidance.steers:
            return []
        abar = self._abar
        steps = steps_of(self.settings, len(abar))
        return [described(guided_steps(self.settings.guidance, steps, abar), steps, abar)]

    @property
    def _abar(self) -> Tensor:
        """The schedule of the denoiser that images are sampled from."""
        there = self.denoiser.denoiser if isinstance(self.denoiser, Loaded) else None
        return linear_abar() if there is None else there.abar

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        own = {"settings": None, "weighting": asdict(self.weighting), "selection_steps": None, "factor": 1}
        return {
            **own,
            KEY: asdict(self.settings),
            "denoiser": self.denoiser.to_json(),
            "minimax": None if self.minimax is None else asdict(self.minimax),
            "guide": None if self.guide is None else self.guide.to_json(),
            "allocation": self.asked_allocation,
            **({} if self.table is None else {"table": self.table.to_json()}),
        }

    def open(self, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, prepared: Prepared) -> Work:
        """The work at its first batch. `prepared`: `denoiser/…` and `surrogate/…`, what was trained beforehand."""
        from refluence.generate.work import SamplingWork

        surrogate = None
        if self.guide is not None:
            surrogate = Surrogate.from_state(self.guide.model, named(prepared, SURROGATE))
        counts = counts_of(dataset, self.ipc, self.allocation)
        return SamplingWork(self.settings, self.sampled_from(prepared), surrogate, dataset, counts, rng, compute)

    def sampled_from(self, prepared: Prepared) -> Denoiser:
        """The denoiser that images are sampled from."""
        denoiser = self.untuned(prepared)
        if self.minimax is not None:
            denoiser.load_state(named(prepared, TUNED))
            denoiser.method = self.generator.name
        return denoiser

    def untuned(self, prepared: Prepared) -> Denoiser:
        """The same before Minimax: loaded, or of `prepared`."""
        if isinstance(self.denoiser, Loaded):
            assert self.denoiser.denoiser is not None, "handed over with the plan"
            return copy.deepcopy(self.denoiser.denoiser)
        denoiser = build_denoiser(self.denoiser.config, streams(SEED)("denoiser", 0))
        denoiser.load_tensors(named(prepared, DENOISER))
        return denoiser


def named(prepared: Prepared, prefix: str) -> dict[str, Tensor]:
    """The tensors behind a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in prepared.tensors.items() if name.startswith(prefix)}


def plan(arm: Arm, generator: Generator, asked: JobOptions, dataset: Dataset) -> Sampling:
    """The plan of an arm.

    Raises:
        InputError: a denoiser that cannot be had or is of other images or classes, a surrogate that is none.
    """
    shared = asked if isinstance(asked, SetOptions) else SamplingOptions()
    own = asked_by(arm, shared)
    settings, denoiser = settings_for(arm, generator, shared), denoiser_of(own, dataset, asked.size)
    minimax = None
    if isinstance(denoiser, Loaded) and denoiser.method != "dit" and not generator.finetuned:
        raise InputError(
            f"arm '{arm.name}': {option('denoiser', called_by(own.denoiser))} is fine-tuned by {denoiser.method}: the arm "
            f"'{denoiser.method}' samples from it, '{generator.name}' from one that is not"
        )
    if generator.finetuned and not (isinstance(denoiser, Loaded) and denoiser.method == generator.name):
        minimax = minimax_defaults(asked.size, len(dataset.train))
        if own.minimax_iterations is not None:
            minimax = replace(minimax, iterations=own.minimax_iterations)
    guide = guide_of(own, dataset, asked.size) if needs_surrogate(settings) else None
    allocation = asked.allocation if asked.allocation != "equal" else None
    return Sampling(generator, arm, settings, asked.ipc, denoiser, minimax, guide, allocation, weighting_of(arm))


def equipped(sampling: Sampling, dataset: Dataset) -> Sampling:
    """The plan with the denoiser that was loaded, which neither JSON nor other processes get: read again.

    Raises:
        InputError: another one than before.
    """
    if isinstance(sampling.denoiser, Trained):
        return sampling
    return replace(sampling, denoiser=sampling.denoiser.again(dataset))


def plan_from(arm: Arm, generator: Generator, stored: Json) -> Sampling:
    """The plan that `Sampling.to_json` wrote; `stored` has the job's `ipc` beside it."""
    weighting: Json = {k: math.inf if v == "inf" else v for k, v in stored["weighting"].items()}
    guide, minimax = stored["guide"], stored["minimax"]
    return Sampling(
        generator,
        arm,
        settings_of_json(stored[KEY]),
        stored["ipc"],
        denoiser_from(stored["denoiser"]),
        None if minimax is None else MinimaxSettings(**minimax),
        None if guide is None else guide_from(guide),
        stored["allocation"],
        Weighting(**weighting),
        table_from(stored.get("table")),
    )
