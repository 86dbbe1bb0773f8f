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
from refluence.transfer.watch import one_step_gain, watch
from refluence.transfer.watched import WatchedRun
from refluence.transfer.weights import InstanceWeights

WATCHED = 1000  # instances of each half that a gain is measured on, at most


@dataclass(frozen=True)
class Ground:
    """What scores are made of: training instances, both halves of the validation split, and the teacher."""

    train: Instances
    weighing: Instances
    watching: Instances
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

    def refresh(self, step: int, x: Tensor, y: Targets, rows: Tensor, rate: float, watched: WatchedRun | None = None) -> Tensor:
        """The weights of a loss `(B,)` before this step, new ones where they are due.

        Args:
            step: its number.
            x: inputs `(B, ...)` of the batch that follows.
            y: its targets.
            rows: `(B,)`, which instances they are.
            rate: the learning rate.
            watched: where to say what new weights do.
        """
        if self.due(step) or (self.weights.by_batch and step > self.every):
            with (
                torch.autocast(x.device.type, enabled=False),
                seeded(self.ground.rng(f"{self.ground.purpose}scoring", step), x.device),
                evaluating(self.measure.net),
            ):
                positions = self._weigh(step, x, y, rows)
                if watched is not None and self._watches(step):
                    self._watch(watched, positions, x, y, rows, rate)
        return self.weights.of(rows).to(x.device)

    def _weigh(self, step: int, x: Tensor, y: Targets, rows: Tensor) -> Tensor:
        """New weights; the positions `(n,)` of those that compete."""
        ground, weights = self.ground, self.weights
        weighing, settings = ground.weighing, ground.settings
        positions, generator = ground.train.positions, ground.rng(f"{ground.purpose}weights", step)
        if weights.by_batch:
            mine = rows < len(positions)
            positions = rows[mine]
        if not self.due(step):
            weights.refresh(positions, None, step, generator)
            return positions
        fit = ground.draw("curvature", step, ground.train, settings.fit)
        if weights.by_batch:
            weighing = ground.draw("risk", step, weighing, settings.batch)
        if settings.risk == "student":
            weighing = ground.answers.beside(weighing)
        if weights.by_batch:
            mine = mine.to(x.device)
            scores = self.measure([(x[mine], take(y, mine))], weighing, self._fit(fit))
        else:
            train = ground.answers.beside(ground.train)
            scores = self.measure(train, weighing, replace(fit, logits=train.logits))
        weights.refresh(positions, scores, step, generator)
        return positions

    def _fit(self, fit: Instances) -> Instances:
        """With logits where a curvature reads them."""
        return fit if self.ground.settings.curvature == "identity" else self.ground.answers.beside(fit)

    def _watches(self, step: int) -> bool:
        """At each scoring, but where the bag is the batch at the first of an epoch."""
        return self.due(step) and (not self.weights.by_batch or step % self.ground.per_epoch < self.every)

    def _watch(self, run: WatchedRun, positions: Tensor, x: Tensor, y: Targets, rows: Tensor, rate: float) -> None:
        omega, losses = self.weights.omega[positions], self.weights.loss[positions]
        own = self.weights.of(rows).to(x.device)
        if not bool(own.any()):
            return  # link relu, and nothing that helps
        gains = 0.0, 0.0
        if run.gains:
            weighing, watching = (
                self.ground.draw("watched", 0, half, WATCHED) for half in (self.ground.weighing, self.ground.watching)
            )
            halves = (weighing.inputs(), weighing.labels()), (watching.inputs(), watching.labels())
            gains = one_step_gain(self.measure.net, x, y, self.measure.loss, rate, own, halves)
        run.add(watch(omega, losses, gains), omega)
