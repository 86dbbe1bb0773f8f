"""The choice of a surrogate's checkpoints as a work (work.py): one checkpoint of its training (trajectory.py) a step,

g_c(theta_e)        class-mean gradients, by which it is kept or not (checkpoints.py)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.generate.checkpoints import SIMILARITIES, look, regular
from refluence.generate.class_gradients import chosen, class_gradients
from refluence.generate.surrogate import Surrogate, SurrogateSettings, within
from refluence.generate.trajectory import Trajectory
from refluence.models import build
from refluence.seeds import Rng
from refluence.work import Result


@dataclass(frozen=True)
class SurrogateStep:
    """A look at the checkpoint after `epoch` epochs: its similarity with the last kept one (None: the first)."""

    step: int
    epoch: int
    similarity: float | None
    kept: bool


class SurrogateWork:
    """A surrogate on its way, from the checkpoints of its training."""

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "Another surrogate may help, in a new run"

    def __init__(
        self,
        settings: SurrogateSettings,
        trajectory: Trajectory,
        dataset: Dataset,
        rng: Rng,
        compute: Compute,
        weights: Tensor | None = None,
    ):
        """`weights (N,)`: of the training instances in the mean gradient of their class; None: all alike.

        Raises:
            InputError: a class with fewer images than `settings.real`, or none.
        """
        self.settings, self.trajectory, self.dataset, self.compute = settings, trajectory, dataset, compute
        self.weights, self.positions = weights, chosen(dataset, settings.real, rng)
        last, count = len(trajectory) - 1, settings.regular
        self.ahead = list(range(last + 1)) if count is None else regular(last, count)  # checkpoints to look at
        self.total, self.step = len(self.ahead), 0
        self.net = build(trajectory.model, rng("surrogate-network", 0), compute.device)
        self.kept: dict[int, Tensor] = {}
        """Class-mean gradients `(C, P)` of the checkpoints that are kept, by epoch."""

    def steps(self) -> Iterator[SurrogateStep]:
        """What is left; `RunError` for gradients that are not finite."""
        while self.step < self.total:
            event = self._look()
            self.step += 1
            if self.step == self.total and self.settings.evenly:
                self._spread()
            yield event

    def _look(self) -> SurrogateStep:
        epoch = self.ahead[self.step]
        found = self._gradients(epoch)
        last = self.kept[max(self.kept)] if self.kept else None
        similarity, keeps = look(found, last, self.settings.threshold, SIMILARITIES[self.settings.similarity])
        keeps = keeps or self.settings.regular is not None
        if keeps:
            self.kept[epoch] = found
        return SurrogateStep(self.step, epoch, similarity, keeps)

    def _gradients(self, epoch: int) -> Tensor:
        """Class-mean gradients `(C, P)` at a checkpoint."""
        self.net.load_state_dict(self.trajectory.checkpoints[epoch])
        found = class_gradients(self.net, self.dataset, self.positions, self.weights, self.compute.device)
        if not bool(found.isfinite().all()):
            raise RunError(f"the class-mean gradients of the surrogate after epoch {epoch} are not finite")
        return found

    def _spread(self) -> None:
        """As many checkpoints as are kept, evenly spaced, in their place."""
        kept = self.kept
        epochs = regular(len(self.trajectory) - 1, len(kept))
        self.kept = {epoch: kept[epoch] if epoch in kept else self._gradients(epoch) for epoch in epochs}

    def state(self) -> dict[str, Tensor]:
        """The gradients of the checkpoints that are kept so far."""
        own = {"step": torch.tensor(self.step), "kept": torch.tensor(list(self.kept), dtype=torch.int64)}
        return own | {f"gradients.{epoch}": gradients for epoch, gradients in self.kept.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the step at which `state` was taken."""
        gradients = within(state, "gradients.")
        self.kept = {epoch: gradients[str(epoch)] for epoch in state["kept"].tolist()}
        self.step = int(state["step"])

    def artifact(self) -> Surrogate:
        """What is kept so far."""
        epochs, last = tuple(self.kept), len(self.trajectory) - 1
        return Surrogate(
            self.trajectory.model,
            tuple(self.trajectory.checkpoints[epoch] for epoch in epochs),
            tuple(self.kept[epoch] for epoch in epochs),
            epochs,
            tuple(self.settings.lr for _ in epochs),
            self.dataset.mean,
            self.dataset.std,
            trained=None if last in epochs else self.trajectory.checkpoints[last],
        )

    def result(self) -> Result:
        """The surrogate; its card says which checkpoints were kept and how."""
        facts = {**asdict(self.settings), "epochs_kept": list(self.kept), "weighted": self.weights is not None}
        return Result(self.artifact(), facts)
