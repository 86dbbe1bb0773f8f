"""A teacher that learns beside its student: its steps, the weights of its instances, and when it stops.

    S'  = S - eta grad (1/B) sum_i w_i L_S(z_i; T, S)        one step of the student on the batch, at its rate
    w^T = weights from phi at S', anew whenever the student's own are
    T   <- optimiser(T, grad_T (1/B) sum_i w_i^T L_T(z_i; T, S') [+ what teacher_step.py adds])

A teacher whose accuracy on the watching half falls by more than `FALL` standard errors below its best goes back to where it was
best, at the end of an epoch or before it learned, and learns no more (ours: the failure that KD-AIF's summary names). So does
one whose numbers are no longer finite.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from refluence.influence.parameters import Parameters
from refluence.training.optimisers import make, optimiser_state, restore_optimiser
from refluence.transfer.losses import Rising, StudentLoss
from refluence.transfer.refresh import Ground, Weighed
from refluence.transfer.teacher_step import look_ahead, teacher_gradient
from refluence.transfer.watched import WatchedRun

MOMENTUM, FALL = 0.9, 2.0
OPTIMISER, WEIGHTS, KEPT = "optimiser-", "weights.", "kept."  # before names in a state


class LearningTeacher:
    """A teacher in evaluation mode, its optimiser, and the weights of its instances.

    Args:
        net: moved in place.
        loss: the student's.
        ground: what scores are made of, and the numbers of the run.
        weighed: the weights of the teacher's instances, measured at a network that is moved to S'; none: all alike.
        accuracy: percent on the watching half before it learns.
    """

    def __init__(self, net: nn.Module, loss: StudentLoss | Rising, ground: Ground, weighed: Weighed | None, accuracy: float):
        self.net, self.loss, self.ground, self.weighed, self.best = net, loss, ground, weighed, accuracy
        self.kept = _copy(net)  # where it was best
        self.optimiser = make(net, ground.settings.optimiser, ground.settings.teacher_lr, momentum=MOMENTUM)

    def learn(
        self,
        step: int,
        student: nn.Module,
        x: Tensor,
        y: tuple[Tensor, Tensor],
        rows: Tensor,
        weights: Tensor | None,
        rate: float,
        watched: WatchedRun | None = None,
    ) -> None:
        """What the teacher does before a step of the student on a batch.

        Args:
            step: its number.
            student: at S; left as it is.
            x: inputs `(B, ...)`, as the student sees them.
            y: labels `(B,)` and logits `(B, C)`.
            rows: `(B,)`, which instances they are.
            weights: `(B,)` of the student's instances.
            rate: eta.
            watched: where the teacher's weights are watched.
        """
        due, weighed = step % self.ground.settings.teacher_every == 0, self.weighed
        if not due and (weighed is None or not weighed.due(step)):
            return
        with torch.autocast(x.device.type, enabled=False):
            ahead = look_ahead(student, x, y, self.loss, rate, weights)
            own = None
            if weighed is not None:
                if weighed.due(step):  # else nothing is measured at S'
                    _move(weighed.measure.net, student, ahead)
                own = weighed.refresh(step, x, y, rows, rate, watched)
            if due:
                self._step(self._gradient(step, student, ahead, x, y[0], weights, own, rate))

    def _gradient(
        self,
        step: int,
        student: nn.Module,
        ahead: Parameters,
        x: Tensor,
        labels: Tensor,
        weights: Tensor | None,
        own: Tensor | None,
        rate: float,
    ) -> Parameters:
        how, validation = self.ground.settings, None
        if how.teacher_gradient != "detached":
            drawn = self.ground.draw("validation", step, self.ground.weighing, how.batch)
            validation = drawn.inputs(), drawn.labels()
        return teacher_gradient(
            self.net,
            student,
            ahead,
            x,
            labels,
            how=how.teacher_gradient,
            alpha=how.teacher_alpha,
            loss=self.loss,
            lr=rate,
            weights=weights,
            teacher_weights=own,
            validation=validation,
        )

    def _step(self, gradient: Parameters) -> None:
        for name, p in self.net.named_parameters():
            p.grad = gradient.get(name)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def falls(self, accuracy: float) -> bool:
        """Whether its accuracy on the watching half, in percent, is clearly below its best."""
        count = len(self.ground.watching.positions)
        share = (self.best / 100 * count + 1) / (count + 2)  # of a few instances all may be right by chance
        if accuracy < self.best - FALL * 100 * math.sqrt(share * (1 - share) / count):
            return True
        if accuracy >= self.best:
            self.best, self.kept = accuracy, _copy(self.net)
        return False

    @property
    def finite(self) -> bool:
        """Whether all its numbers are."""
        return all(bool(p.isfinite().all()) for p in self.net.parameters())

    def go_back(self) -> None:
        """To where it was best."""
        self.net.load_state_dict(self.kept)

    def state(self) -> dict[str, Tensor]:
        """All that its next step depends on beside its numbers."""
        own = {f"{OPTIMISER}{name}": t for name, t in optimiser_state(self.optimiser).items()}
        if self.weighed is not None:
            own |= {f"{WEIGHTS}{name}": t for name, t in self.weighed.weights.state().items()}
        own |= {f"{KEPT}{name}": t for name, t in self.kept.items()}
        return {**own, "best": torch.tensor(self.best, dtype=torch.float64)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        restore_optimiser(self.optimiser, within(state, OPTIMISER))
        if self.weighed is not None:
            self.weighed.weights.restore(within(state, WEIGHTS))
        self.best = float(state["best"])
        self.kept = {name: t.to(self.kept[name].device) for name, t in within(state, KEPT).items()}


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in net.state_dict().items()}


def _move(net: nn.Module, student: nn.Module, ahead: Parameters) -> None:
    """Put `net` where the student will be."""
    net.load_state_dict(student.state_dict())
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name in ahead:
                p.copy_(ahead[name])


def within(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors behind a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
