"""When instances are scored anew, on what, and the weights that they get."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from refluence.influence.losses import take
from refluence.randomness import seeded
from refluence.seeds import Rng
from refluence.training.objectives import Targets
from refluence.training.predict import evaluating
from refluence.transfer.answers import Answers
from refluence.transfer.batches import Instances
from refluence.transfer.scoring import Measure
from refluence.transfer.settings import Settings
from refluence.transfer.weights import InstanceWeights


@dataclass(frozen=True)
class Ground:
    """What scores are made of: training instances, the half of the validation split that makes weights, and the teacher."""

    train: Instances
    weighing: Instances
    answers: Answers
    settings: Settings
    per_epoch: int
    rng: Rng
    purpose: str = ""

    def draw(self, what: str, step: int, instances: Instances, count: int) -> Instances:
        """So many of the instances, drawn for this step."""
        if count >= len(instances.positions):
            return instances
        order = torch.randperm(len(instances.positions), generator=self.rng(f"{self.purpose}{what}", step))
        return instances.take(instances.positions[order[:count]])


class Weighed:
    """The weights of the training instances of one network, and how they are measured at it."""

    def __init__(self, weights: InstanceWeights, measure: Measure, ground: Ground):
        self.weights, self.measure, self.ground = weights, measure, ground

    @property
    def every(self) -> int:
        """Steps from one scoring to the next."""
        return self.ground.settings.refresh or (1 if self.weights.by_batch else self.ground.per_epoch)

    def due(self, step: int) -> bool:
        """Whether instances are scored before this step: never before the first."""
        return step > 0 and step % self.every == 0

    def refresh(self, step: int, x: Tensor, y: Targets, rows: Tensor) -> None:
        """New weights before this step, of all training instances; where the bag is the batch, of its own (x, y) at `rows`."""
        ground, weights = self.ground, self.weights
        if not (self.due(step) or (weights.by_batch and step > self.every)):
            return
        weighing, settings = ground.weighing, ground.settings
        positions, generator = ground.train.positions, ground.rng(f"{ground.purpose}weights", step)
        if weights.by_batch:
            mine = rows < len(positions)
            positions = rows[mine]
            weighing = ground.draw("risk", step, weighing, settings.batch)
        if not self.due(step):
            return weights.refresh(positions, None, step, generator)
        fit = ground.draw("curvature", step, ground.train, settings.fit)
        with (
            torch.autocast(x.device.type, enabled=False),
            seeded(ground.rng(f"{ground.purpose}scoring", step), x.device),
            evaluating(self.measure.net),
        ):
            if settings.risk == "student":
                weighing = ground.answers.beside(weighing)
            if weights.by_batch:
                mine = mine.to(x.device)
                scores = self.measure([(x[mine], take(y, mine))], weighing, self._fit(fit))
            else:
                train = ground.answers.beside(ground.train)
                scores = self.measure(train, weighing, replace(fit, logits=train.logits))
        weights.refresh(positions, scores, step, generator)

    def _fit(self, fit: Instances) -> Instances:
        """With logits where a curvature reads them."""
        return fit if self.ground.settings.curvature == "identity" else self.ground.answers.beside(fit)
