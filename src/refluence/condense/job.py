"""A distillation as a job: its plan with every default resolved, which opens the work."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from refluence.arm import Arm
from refluence.compute import Compute
from refluence.condense.arms import check, in_proportion, own_keys, settings_for, weighting_of
from refluence.condense.engine import engine
from refluence.condense.method import Method, Settings
from refluence.condense.ranking import Ranking, Table, ranks_by, table_from
from refluence.condense.requirements import check_network
from refluence.condense.scoring import influence
from refluence.condense.work import DistillationWork, ahead
from refluence.data import Dataset, clean
from refluence.data.allocation import counts_of
from refluence.data.distilled import DistilledSet
from refluence.files import Json
from refluence.influence.weighting import BY_INFLUENCE, KINDS, Weighting
from refluence.models import ModelSpec
from refluence.options import JobOptions
from refluence.seeds import Rng, streams
from refluence.work import Cost, Prepared, Work

__all__ = ["Distilling", "check", "own_keys", "plan", "plan_from"]


@dataclass(frozen=True)
class Distilling:
    """Everything that decides a distilled set beside its seed and network, resolved."""

    method: Method
    settings: Settings
    weighting: Weighting
    arm: Arm
    steps: int | None = None  # of what ranks the instances of a pruned arm; None: its default
    table: Table | None = None  # of scores that the arm goes by, if any

    artifact: ClassVar[type[DistilledSet]] = DistilledSet
    family: ClassVar[str] = "distill"
    by_scores: ClassVar[bool] = False  # selections may choose by a table of scores
    real_each: ClassVar[int] = 1  # where a class has too few for factor^2 in an image, they are used again
    usual_steps: ClassVar[int] = 0  # it trains no networks but those of its image steps and its ranking

    @property
    def objective(self) -> tuple[Method, Settings, Weighting]:
        """What real instances can be scored against, once the set is made."""
        return self.method, self.settings, self.weighting

    @property
    def iterations(self) -> int:
        """Image steps in all."""
        return self.settings.iterations

    @property
    def declared(self) -> Method:
        """The method."""
        return self.method

    @property
    def allocation(self) -> str:
        """Images per class: equal or proportional."""
        return self.settings.allocation

    @property
    def summary(self) -> tuple[str, str]:
        """The method and its weights in words, for the card."""
        return self.method.summary, KINDS[self.weighting.kind]

    @property
    def ranking(self) -> str | None:
        """What real instances are ranked by before the run; None where they are not, or by a table of scores."""
        return ranks_by(self.weighting)

    def ranked(self, model: ModelSpec, seed: int) -> Ranking | None:
        """The ranking that the run needs before it begins, if any."""
        by = self.ranking
        return None if by is None else Ranking(by, (self.method, self.settings), model, seed, self.steps)

    def for_data(self, dataset: Dataset) -> Distilling:
        """The same: nothing of it depends on where the data come from."""
        return self

    def in_steps(self, own: int | None, ranking: int | None) -> Distilling:
        """The same with that many steps of what ranks its instances, if anything does."""
        return self if self.steps is not None or ranking is None else replace(self, steps=ranking)

    def with_table(self, table: Table) -> Distilling:
        """The same by this table of scores, if it goes by any."""
        return replace(self, table=table) if self.weighting.by_table else self

    def order(
        self, images: Tensor, labels: Tensor, dataset: Dataset, model: ModelSpec, rng: Rng, device: torch.device, nets: int
    ) -> Tensor | None:
        """The influence of each of `images` on the method's distance `(M,)`, by which pictures are ordered."""
        of = (images, labels, self.method, self.settings, dataset, model, rng)
        return influence(*of, nets=nets, device=device)[0].nan_to_num(0.0)

    def with_iterations(self, iterations: int, size: str) -> Distilling:
        """The same with another number of image steps; at size `cpu` the training beforehand grows and shrinks with it."""
        settings = self.settings.with_(iterations=iterations)
        return replace(self, settings=in_proportion(settings, iterations / self.settings.iterations, self.arm, size))

    def unweighted(self) -> Distilling:
        """The same with uniform weights."""
        return replace(self, weighting=self.weighting.even)

    def shortened(self, steps: int, real_batch: int) -> Distilling:
        """The same with that many image steps and steps between: does it start?

        At least two image steps a network and stage, so that what trains it in between is run too.
        """
        settings = self.settings
        small = {name: min(getattr(settings, name), steps) for name in ("inner", "stage_epochs", "pretrain")}
        small["outer"] = min(settings.outer, max(2, steps))
        batch = min(settings.real_batch, real_batch)
        settings = settings.with_(**small, iterations=max(steps, small["outer"] * settings.stages), real_batch=batch)
        table = None if self.table is None else replace(self.table, epochs=1)
        return replace(self, settings=settings, weighting=self.weighting.with_(warmup=0), steps=steps, table=table)

    def steady(self) -> Distilling:
        """The same without what does not come with every step, for an estimate (`ahead`)."""
        return replace(self, settings=self.settings.with_(pretrain=0))

    @property
    def formation(self) -> int:
        """Each stored image holds formation^2 of them."""
        return self.settings.factor

    def ahead(self, work: Work) -> list[Cost]:
        """What an estimate adds to the steps of the steady plan's `work`."""
        assert isinstance(work, DistillationWork), "the work of this plan"
        return ahead(self.settings, work)

    def check_data(self, dataset: Dataset, counts: tuple[int, ...]) -> None:
        """`NoRoomError` where a class has too few images."""
        keep = self.weighting.keep
        if self.weighting.prunes and not isinstance(keep, str):
            clean.check_share(dataset, counts, keep)

    def check_model(self, model: ModelSpec) -> None:
        """`InputError` for a network that lacks what the method asks of it."""
        check_network(model, self.method, self.settings, self.weighting)

    def remarks(self, dataset: Dataset, model: ModelSpec, seed: int, compute: Compute) -> list[str]:
        """What is worth a line before the run: the engine of its influence."""
        if self.weighting.kind not in BY_INFLUENCE:
            return []
        return [engine(self.method, self.settings, dataset, model, streams(seed), compute)]

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        own = {"settings": asdict(self.settings), "weighting": asdict(self.weighting), "selection_steps": self.steps}
        table = {} if self.table is None else {"table": self.table.to_json()}
        return {**own, "allocation": None, "factor": 1, **table}

    def open(self, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, prepared: Prepared) -> DistillationWork:
        """The work at its first step. `prepared`: what an arm that acts before the run does to instances (data/clean.py)."""
        weights, facts, count = clean.weights_of(dataset, prepared.tensors), {}, len(dataset.train)
        counts = counts_of(dataset, self.settings.ipc, self.allocation)
        dataset = clean.cleaned(dataset, prepared.tensors)
        if self.weighting.prunes:
            keep = 1 - float(prepared.tensors["share"]) if self.weighting.share_is_open else self.weighting.keep
            found = {"images": len(dataset.train), "of": count, "seconds": round(prepared.seconds, 3)}
            facts = {"kept": {"share": keep, "by": self.weighting.by, **found}}
        return DistillationWork(
            self.method, self.settings, self.weighting, dataset, model, rng, compute, facts, weights, counts
        )


def plan(arm: Arm, method: Method, asked: JobOptions, dataset: Dataset) -> Distilling:
    """The plan of an arm."""
    return Distilling(method, settings_for(arm, method, asked, dataset.shape), weighting_of(arm), arm)


def plan_from(arm: Arm, method: Method, stored: Json) -> Distilling:
    """The plan that `Distilling.to_json` wrote."""
    weighting: Json = {k: math.inf if v == "inf" else v for k, v in stored["weighting"].items()}
    return Distilling(
        method, Settings(**stored["settings"]), Weighting(**weighting), arm, stored["selection_steps"],
        table_from(stored.get("table")))  # fmt: skip
