"""A distillation as a work (work.py): its steps, then the set, its order and the influence that it measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.condense.events import StepEvent
from refluence.condense.loop import Distillation
from refluence.condense.method import Method, Settings
from refluence.condense.network_training import Fetch, sgd, train_on
from refluence.condense.networks import on_stage
from refluence.condense.scoring import influence
from refluence.data import Dataset
from refluence.data.distilled import DistilledSet
from refluence.data.run_scores import RunScores
from refluence.errors import InputError, RunError
from refluence.files import Json
from refluence.influence.bags import bag_weights
from refluence.influence.weighting import BY_INFLUENCE, Weighting
from refluence.models import ModelSpec
from refluence.seeds import Rng, streams
from refluence.work import Cost, Result

PICTURE_NETS = 2  # random networks that the order of the distilled pictures is measured on


class DistillationWork(Distillation):
    """The steps of a distillation, and what they come to."""

    means: ClassVar[tuple[str, ...]] = ("ess",)
    remedy: ClassVar[str] = "A smaller image_lr (as in dc:image_lr=.01), or precision fp32, may help, in a new folder"

    def __init__(
        self,
        method: Method,
        settings: Settings,
        weighting: Weighting,
        dataset: Dataset,
        model: ModelSpec,
        rng: Rng,
        compute: Compute,
        facts: Json,
        weights: Tensor | None = None,
        counts: Sequence[int] | None = None,
    ):
        super().__init__(method, settings, weighting, dataset, model, rng, compute, weights, counts)
        self.asked, self.weighting, self.model, self.facts, self.total = settings, weighting, model, facts, settings.iterations

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
                self.images, self.labels, self.method, self.asked, self.dataset, self.model, self.rng,
                nets=PICTURE_NETS, device=self.device, soft=small.soft, lr=small.lr,
            )  # fmt: skip
            small = replace(small, influence=pictures.nan_to_num(0.0))  # their order alone is of use
        card = {**self.facts, "iterations": self.total}
        return Result(small, card, (self._scores(),) if self.weighting.kind in BY_INFLUENCE else ())

    def _scores(self) -> RunScores:
        table = self.table
        losses = torch.full_like(table.raw, torch.nan)  # a run that weights by influence keeps no losses
        labels, classes = self.dataset.train.labels, len(self.dataset.classes)
        weight = bag_weights(table.raw, losses, labels, self.weighting, self.rng, classes=classes, seen=table.visits > 0)
        return RunScores(self.dataset, table.raw, table.visits, weight, losses)


def ahead(settings: Settings, work: DistillationWork) -> list[Cost]:
    """The training of networks before image steps under `settings`, which an estimate's steps leave out or spread thin."""
    settings = settings.with_(outer=work.settings.outer)
    images, labels = work.synthetic.training_set((settings.stages - 1) // 2)
    on_real, on_earlier = work.method.networks.seen_beforehand(settings, len(work.labels) * settings.factor**2)
    net, size, stage = work.networks, len(labels), on_stage(settings, images.shape[1])

    def training(data: tuple[int, Fetch], how: Settings, model: nn.Module) -> Callable[[int], None]:
        def train(steps: int) -> None:
            with work.compute.autocast():
                train_on(model, sgd(work.net, how), data, how, steps, streams(0)("estimate", 0))

        return train

    costs = []  # D is counted in whole batches, an earlier stage's images each
    if on_real:
        costs.append(Cost("pre-training", on_real / settings.net_batch, training(net.real, settings, net.plain)))
    if on_earlier:
        data = (size, lambda p: (images[p], labels[p]))
        costs.append(Cost("earlier stages", on_earlier / min(stage.net_batch, size), training(data, stage, net.net)))
    return costs
