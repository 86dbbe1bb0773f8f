"""A teacher that learns beside its student: its steps, the weights of its instances, and when it stops.

A teacher whose accuracy on the watching half falls by more than `FALL` standard errors below its best learns no more (ours: the
failure that KD-AIF's summary names). It stays where it is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from refluence.influence.parameters import Parameters
from refluence.training.optimisers import make, optimiser_state, restore_optimiser
from refluence.transfer.settings import Settings
from refluence.transfer.weights import InstanceWeights

MOMENTUM, FALL = 0.9, 2.0
NAME, OPTIMISER, WEIGHTS = "teacher.", "teacher-optimiser.", "teacher-weights."


class LearningTeacher:
    """A teacher in evaluation mode, its optimiser and its weights.

    Args:
        net: moved in place.
        settings: its rate and optimiser.
        weights: of its instances; none: all alike.
        accuracy: percent on the `watching` instances before it learns.
        watching: how many these are.
    """

    def __init__(self, net: nn.Module, settings: Settings, weights: InstanceWeights | None, accuracy: float, watching: int):
        self.net, self.weights, self.watching = net, weights, watching
        self.optimiser = make(net, settings.optimiser, settings.teacher_lr, momentum=MOMENTUM)
        self.best, self.stopped = accuracy, False

    def step(self, gradient: Parameters) -> None:
        """One step of its optimiser along a gradient by name."""
        self.optimiser.zero_grad(set_to_none=True)
        for name, p in self.net.named_parameters():
            p.grad = gradient.get(name)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def watch(self, accuracy: float) -> None:
        """Stop it where its accuracy, in percent, has fallen clearly."""
        share = self.best / 100
        error = 100 * math.sqrt(share * (1 - share) / self.watching)
        self.stopped = self.stopped or accuracy < self.best - FALL * error
        self.best = max(self.best, accuracy)

    def state(self) -> dict[str, Tensor]:
        """All that its next step depends on."""
        own = {f"{NAME}{name}": t for name, t in self.net.state_dict().items()}
        own |= {f"{OPTIMISER}{name}": t for name, t in optimiser_state(self.optimiser).items()}
        if self.weights is not None:
            own |= {f"{WEIGHTS}{name}": t for name, t in self.weights.state().items()}
        return {**own, "teacher-watched": torch.tensor([self.best, float(self.stopped)], dtype=torch.float64)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self.net.load_state_dict(within(state, NAME))
        restore_optimiser(self.optimiser, within(state, OPTIMISER))
        if self.weights is not None:
            self.weights.restore(within(state, WEIGHTS))
        best, stopped = state["teacher-watched"].tolist()
        self.best, self.stopped = best, bool(stopped)


def within(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors behind a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
