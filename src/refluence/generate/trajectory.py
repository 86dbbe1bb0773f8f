"""The training of a surrogate as a work (work.py), and what it makes: the network before the first epoch and after each.

theta_0 … theta_E   plain SGD on the source; a step of the work is a block of at most 100 of SGD's

Which of them guide, and the gradients at them, come later (surrogate_work.py): surrogates that differ in that share a training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.files import Json, write_json, write_tensors
from refluence.generate.surrogate import CARD, WEIGHTS, TrajectorySettings, within
from refluence.models import ModelSpec, build
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.objectives import Objective
from refluence.training.optimisers import Descent
from refluence.work import Result

BLOCK = 100  # steps of SGD between two checkpoints of the work, at most


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The states of a network (parameters and buffers by name) before its training and after every epoch, on the CPU."""

    kind: ClassVar[str] = "trajectory"
    files: ClassVar[tuple[str, ...]] = (WEIGHTS,)

    model: ModelSpec
    checkpoints: tuple[dict[str, Tensor], ...]

    def __len__(self) -> int:
        """How many checkpoints it has: one more than epochs."""
        return len(self.checkpoints)

    @property
    def stored_bytes(self) -> int:
        """Bytes of its tensors."""
        return sum(t.numel() * t.element_size() for t in self.state().values())

    def state(self) -> dict[str, Tensor]:
        """All of it but `model` as tensors."""
        return {f"{epoch}.{name}": t for epoch, state in enumerate(self.checkpoints) for name, t in state.items()}

    @classmethod
    def from_state(cls, model: ModelSpec, tensors: dict[str, Tensor]) -> Trajectory:
        """The inverse of `state`."""
        count = 1 + max(int(name.partition(".")[0]) for name in tensors)
        return cls(model, tuple(within(tensors, f"{epoch}.") for epoch in range(count)))

    def save(self, folder: str | Path, card: Json | None = None) -> None:
        """Write it into `folder/trajectory`, the card last; `card`: further facts."""
        place = Path(folder) / self.kind
        place.mkdir(parents=True, exist_ok=True)
        write_tensors(place / WEIGHTS, self.state())
        write_json(place / CARD, {**(card or {}), "model": self.model.to_json()})


@dataclass(frozen=True)
class TrajectoryStep:
    """Some steps of training, with their mean loss. `epoch`: the one that is trained, from 1 on."""

    step: int
    epoch: int
    loss: float


class TrajectoryWork:
    """The training of a surrogate on its way. All checkpoints so far are in its state."""

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "Another surrogate, or precision fp32, may help, in a new run"

    def __init__(self, settings: TrajectorySettings, model: ModelSpec, dataset: Dataset, rng: Rng, compute: Compute):
        self.settings, self.model, self.dataset, self.rng, self.compute = settings, model, dataset, rng, compute
        self.size = min(settings.batch, len(dataset.train))
        self.per_epoch = len(dataset.train) // self.size
        self.blocks = -(-self.per_epoch // BLOCK)
        self.total, self.step = settings.epochs * self.blocks, 0
        self.net = build(model, rng("surrogate-network", 0), compute.device)
        self.checkpoints = [_state(self.net)]

    def steps(self) -> Iterator[TrajectoryStep]:
        """What is left; `RunError` where training diverges."""
        while self.step < self.total:
            event = self._block()
            self.step += 1
            yield event

    def units(self, step: int) -> int:
        """Steps of SGD after so many blocks."""
        epoch, block = divmod(step, self.blocks)
        return epoch * self.per_epoch + min(block * BLOCK, self.per_epoch)

    def _block(self) -> TrajectoryStep:
        epoch, block = divmod(self.step, self.blocks)
        first, last = block * BLOCK, min((block + 1) * BLOCK, self.per_epoch)
        order = torch.randperm(len(self.dataset.train), generator=self.rng("surrogate-order", epoch))
        losses = list[Tensor]()

        def batches() -> Iterator[Batch[Tensor]]:
            split, device = self.dataset.train, self.compute.device
            for rows in order[first * self.size : last * self.size].split(self.size):
                yield Batch(self.dataset.pixels(split, rows, device), split.labels[rows].to(device), rows=rows)

        self.net.train()
        with self.compute.autocast():
            fit(
                self.compute.compiled(self.net),
                Descent(self.net, self.settings.lr),
                batches(),
                Objective(),
                generator=self.rng("surrogate-training", self.step),
                device=self.compute.device,
                seen=lambda batch, logits, value: losses.append(value),
            )
        if not all(bool(p.isfinite().all()) for p in self.net.parameters()):
            raise RunError(f"training of the surrogate diverged in epoch {epoch + 1}")
        if last == self.per_epoch:
            self.checkpoints.append(_state(self.net))
        return TrajectoryStep(self.step, epoch + 1, loss=float(torch.stack(losses).double().mean()))

    def state(self) -> dict[str, Tensor]:
        """The network and all checkpoints so far."""
        own = {"step": torch.tensor(self.step), **{f"net.{name}": t for name, t in _state(self.net).items()}}
        return own | {f"checkpoint.{name}": t for name, t in self.artifact().state().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the step at which `state` was taken."""
        self.step = int(state["step"])
        self.net.load_state_dict(within(state, "net."))
        self.checkpoints = list(Trajectory.from_state(self.model, within(state, "checkpoint.")).checkpoints)

    def artifact(self) -> Trajectory:
        """The checkpoints so far."""
        return Trajectory(self.model, tuple(self.checkpoints))

    def result(self) -> Result:
        """The checkpoints; their card says how they were trained."""
        return Result(self.artifact(), {**asdict(self.settings), "images": len(self.dataset.train)})


def _state(net: nn.Module) -> dict[str, Tensor]:
    """A copy of parameters and buffers on the CPU."""
    return {name: t.detach().cpu().clone() for name, t in net.state_dict().items()}
