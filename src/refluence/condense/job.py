"""A distillation as a job: what its arm may say, its plan with every default resolved, and the work that the plan opens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from refluence.arm import UNIFORM, Arm
from refluence.compute import Compute
from refluence.condense.engine import engine
from refluence.condense.events import StepEvent
from refluence.condense.loop import Distillation
from refluence.condense.method import Method, Settings
from refluence.condense.network_training import Fetch, sgd, train_on
from refluence.condense.networks import OnSynthetic, on_stage
from refluence.condense.pdd import SHORT_EPOCHS
from refluence.condense.prune import check_share, restrict
from refluence.condense.ranking import Ranking
from refluence.condense.real_side import check as check_weighting
from refluence.condense.requirements import check_network
from refluence.condense.scoring import influence
from refluence.data import Dataset
from refluence.data.distilled import DistilledSet
from refluence.data.scores import RunScores
from refluence.errors import InputError, RunError, did_you_mean
from refluence.influence.bags import bag_weights
from refluence.influence.weighting import BY_INFLUENCE, KINDS, Weighting, parse_weighting
from refluence.models import ModelSpec
from refluence.options import JobOptions
from refluence.seeds import Rng, streams
from refluence.work import Cost, Prepared, Result, Work

PICTURE_NETS = 2  # random networks that the order of the distilled pictures is measured on
NAMES = {"int": int, "float": float, "str": str}


def own_keys() -> dict[str, type]:
    """The options of an arm that are settings of its method, with their types."""
    return {f.name: NAMES[str(f.type)] for f in fields(Settings) if f.name != "ipc"}


def check(arm: Arm, method: Method) -> None:
    """`InputError` for options that are unknown, cannot be read, or mean nothing for this method."""
    of_weights = {f.name for f in fields(Weighting)} - {"kind"}
    for key, value in arm.options:
        if key not in own_keys() and key not in of_weights:
            known = [k for k in own_keys() if not method.idle(k)] + (sorted(of_weights) if arm.kind != UNIFORM else [])
            raise InputError(f"arm '{arm.name}': unknown option '{key}={value}': {did_you_mean(key, known)}")
    weighting = weighting_of(arm)
    if idle := [k for k, _ in arm.options if arm.kind == UNIFORM and k not in own_keys()]:
        raise InputError(f"arm '{arm.name}': {idle[0]} means nothing there, since '{arm.head}' has no weights")
    check_weighting(method, weighting)
    for key, value in arm.options:
        if method.idle(key):
            what = f"{key}={value} means nothing for {arm.method}: its networks and statistic do not read it"
            raise InputError(f"arm '{arm.name}': {what}")


def weighting_of(arm: Arm) -> Weighting:
    """How the arm weights real instances."""
    return parse_weighting(arm.kind, dict(arm.without(own_keys()).options))


def changed(settings: Settings, arm: Arm) -> Settings:
    """The settings with the arm's own, such as `dc:image_lr=1`."""
    changes = {}
    for key, value in arm.options:
        if (kind := own_keys().get(key)) is not None:
            try:
                changes[key] = kind(value)
            except ValueError:
                raise InputError(f"arm '{arm.name}': {key}={value} is not a {kind.__name__}") from None
    return settings.with_(**changes)


@dataclass(frozen=True)
class Distilling:
    """Everything that decides a distilled set beside its seed and network, resolved."""

    method: Method
    settings: Settings
    weighting: Weighting
    arm: Arm
    steps: int | None = None  # of what ranks the instances of a pruned arm; None: its default

    artifact: ClassVar[type[DistilledSet]] = DistilledSet
    family: ClassVar[str] = "distill"
    even: ClassVar[bool] = True
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
        """What real instances are ranked by before the run; None where all stay."""
        return self.weighting.by if self.weighting.prunes else None

    def ranked(self, model: ModelSpec, seed: int) -> Ranking | None:
        """The ranking that the run needs before it begins; None where all instances stay."""
        by, weighting = self.ranking, self.weighting
        if by is None:
            return None
        return Ranking(by, self.method, self.settings, model, seed, self.steps, weighting.keep, weighting.sign)

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
        return replace(self, weighting=replace(self.weighting, kind=UNIFORM))

    def shortened(self, steps: int, real_batch: int) -> Distilling:
        """The same with that many image steps and steps between: does it start?

        At least two image steps a network and stage, so that what trains it in between is run too.
        """
        settings = self.settings
        small = {name: min(getattr(settings, name), steps) for name in ("inner", "stage_epochs", "pretrain")}
        small["outer"] = min(settings.outer, max(2, steps))
        batch = min(settings.real_batch, real_batch)
        settings = settings.with_(**small, iterations=max(steps, small["outer"] * settings.stages), real_batch=batch)
        return replace(self, settings=settings, weighting=self.weighting.with_(warmup=0), steps=steps)

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
        return ahead(self, work)

    def check_data(self, dataset: Dataset, counts: tuple[int, ...]) -> None:
        """`NoRoomError` where a class has too few images."""
        if self.weighting.prunes:
            check_share(dataset, counts, self.weighting.keep)

    def check_model(self, model: ModelSpec) -> None:
        """`InputError` for a network that lacks what the method asks of it."""
        check_network(model, self.method, self.settings, self.weighting)

    def remarks(self, dataset: Dataset, model: ModelSpec, seed: int, compute: Compute) -> list[str]:
        """What is worth a line before the run: the engine of its influence."""
        if self.weighting.kind not in BY_INFLUENCE:
            return []
        return [engine(self.method, self.settings, dataset, model, streams(seed), compute)]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as config.json keeps them."""
        own = {"settings": asdict(self.settings), "weighting": asdict(self.weighting), "selection_steps": self.steps}
        return {**own, "allocation": None, "factor": 1}

    def open(self, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, prepared: Prepared) -> DistillationWork:
        """The work at its first step. `prepared`: `rows` that stay and `scores`, of an arm that prunes."""
        facts = {}
        if self.weighting.prunes:
            positions = torch.isin(dataset.train.rows, prepared.tensors["rows"]).nonzero().flatten()
            counts = {"images": len(positions), "of": len(dataset.train), "seconds": round(prepared.seconds, 3)}
            facts = {"kept": {"share": self.weighting.keep, "by": self.weighting.by, **counts}}
            dataset = restrict(dataset, positions)
        return DistillationWork(self, dataset, model, rng, compute, facts)


class DistillationWork(Distillation):
    """A distillation as a work (work.py): its steps, then the set, its order and the influence that it measured."""

    means: ClassVar[tuple[str, ...]] = ("ess",)
    remedy: ClassVar[str] = "A smaller image_lr (as in dc:image_lr=.01), or --precision fp32, may help, in a new folder"

    def __init__(
        self, plan: Distilling, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, facts: Mapping[str, Any]
    ):
        super().__init__(plan.method, plan.settings, plan.weighting, dataset, model, rng, compute)
        self.plan, self.model, self.facts, self.total = plan, model, facts, plan.settings.iterations

    def steps(self) -> Iterator[StepEvent]:
        """The image steps that are left; `RunError` where numbers are no longer finite or cannot be made weights."""
        try:
            yield from super().steps()
        except InputError as error:  # scores that cannot be made weights
            raise RunError(f"{error} at iteration {self.step}") from None
        if not bool(self.images.isfinite().all()):
            raise RunError(f"the images are not finite after iteration {self.step - 1}")

    def artifact(self) -> DistilledSet:
        """What the run has learned so far, as it is stored."""
        synthetic, settings, dataset = self.synthetic, self.settings, self.dataset
        return DistilledSet(
            self.images.cpu(),
            self.labels.cpu(),
            dataset.classes,
            dataset.mean,
            dataset.std,
            soft=None if synthetic.soft is None else synthetic.soft.cpu(),
            stage=synthetic.stage.cpu() if settings.stages > 1 else None,
            factor=settings.factor,
            lr=synthetic.rate if settings.lr_lr else None,
        )

    def result(self) -> Result:
        """The set with the order of its pictures, and the scores that were measured on the way."""
        small = self.artifact()
        if int(self.labels.bincount().max()) > 1:  # one image of a class has no order: a is its own statistic
            pictures, _, _ = influence(
                self.images, self.labels, self.method, self.plan.settings, self.dataset, self.model, self.rng,
                nets=PICTURE_NETS, device=self.device, soft=small.soft, lr=small.lr,
            )  # fmt: skip
            small = replace(small, influence=pictures.nan_to_num(0.0))  # their order alone is of use
        card = {**self.facts, "iterations": self.total}
        return Result(small, card, (self._scores(),) if self.plan.weighting.kind in BY_INFLUENCE else ())

    def _scores(self) -> RunScores:
        table = self.table
        losses = torch.full_like(table.raw, torch.nan)  # a run that weights by influence keeps no losses
        labels, classes = self.dataset.train.labels, len(self.dataset.classes)
        weight = bag_weights(table.raw, losses, labels, self.plan.weighting, self.rng, classes=classes, seen=table.visits > 0)
        return RunScores(self.dataset, table.raw, table.visits, weight, losses)


def ahead(plan: Distilling, work: DistillationWork) -> list[Cost]:
    """The training of networks before image steps, which the plan's steady form leaves out or spreads thin."""
    settings = plan.settings.with_(outer=work.settings.outer)
    images, labels = work.synthetic.training_set((settings.stages - 1) // 2)
    on_real, on_earlier = work.method.networks.seen_beforehand(settings, len(work.labels) * settings.factor**2)
    net, size, stage = work.networks, len(labels), on_stage(settings, images.shape[1])
    costs = []

    def train(data: tuple[int, Fetch], how: Settings, model: nn.Module, steps: int) -> None:
        with work.compute.autocast():
            train_on(model, sgd(work.net, how), data, how, steps, streams(0)("estimate", 0))

    for what, seen, data, how, model, per_step in (  # D is counted in whole batches, an earlier stage's images each
        ("pre-training", on_real, net.real, settings, net.plain, settings.net_batch),
        ("earlier stages", on_earlier, (size, lambda p: (images[p], labels[p])), stage, net.net, min(stage.net_batch, size)),
    ):
        if seen:
            costs.append(Cost(what, seen / per_step, partial(train, data, how, model)))
    return costs


def plan(arm: Arm, method: Method, asked: JobOptions, shape: tuple[int, int, int]) -> Distilling:
    """The plan of an arm: the method's published numbers at this size, then what is asked, then what the arm says."""
    weighting, paper = weighting_of(arm), asked.size == "paper"
    given = {
        "iterations": asked.iterations,
        "real_batch": asked.real_batch,
        "inner": asked.inner,
        "initial": asked.initial,
        "allocation": asked.allocation,
        "stage_epochs": None if paper or arm.option("stages") is None else SHORT_EPOCHS,
    }
    published = method.settings(asked.ipc, asked.size, shape)
    settings = changed(published.with_(**{k: v for k, v in given.items() if v is not None}), arm)
    settings = in_proportion(settings, settings.iterations / published.iterations, arm, asked.size)
    if method.networks is OnSynthetic and settings.outer == 1:
        for key in ("inner", "net_lr", "net_batch", "net_augmentation", "lr_lr"):
            if arm.option(key) is not None:
                raise InputError(f"arm '{arm.name}': {key} means nothing with a fresh network each image step; add outer=10")
    return Distilling(method, settings, weighting, arm)


def plan_from(arm: Arm, method: Method, stored: Mapping[str, Any]) -> Distilling:
    """The plan that `Distilling.to_json` wrote."""
    weighting: dict[str, Any] = {k: math.inf if v == "inf" else v for k, v in stored["weighting"].items()}
    return Distilling(method, Settings(**stored["settings"]), Weighting(**weighting), arm, stored["selection_steps"])


def in_proportion(settings: Settings, share: float, arm: Arm, size: str) -> Settings:
    """Training beforehand grows and shrinks with the image steps at size `cpu`, but for what the arm itself says of it.

    `share`: the image steps over those before. `stage_epochs` only where a run has several stages.
    """
    if size == "paper":
        return settings
    beforehand = {"pretrain": settings.pretrain, "stage_epochs": settings.stage_epochs if settings.stages > 1 else 0}
    return settings.with_(**{k: max(1, round(share * n)) for k, n in beforehand.items() if n and arm.option(k) is None})
