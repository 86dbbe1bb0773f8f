"""Minimax fine-tuning as a work (work.py): blocks of at most 20 steps of AdamW on the loss of minimax.py, and both memories.

What a step draws follows from its number alone, so that a stopped fine-tuning continues to the same bits. The denoiser that
results has the running average of the parameters that move.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.generate.blocks import InBlocks
from refluence.generate.denoiser import Denoiser
from refluence.generate.memory import Memory
from refluence.generate.minimax import METHOD, MinimaxSettings, cosines, mark_difffit
from refluence.generate.noising import Noised, noised, squared_error
from refluence.generate.predictions import prediction
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.optimisers import make, optimiser_state, restore_optimiser
from refluence.work import Result

NET, AVERAGE, REAL, PSEUDO = "net.", "average.", "real.", "pseudo."  # before names in a state


@dataclass(frozen=True)
class MinimaxSteps:
    """Some steps: mean loss, and of its parts 1 - the least cosine with real latents, and the greatest with predictions."""

    step: int
    loss: float
    away: float
    alike: float


class MinimaxWork(InBlocks[MinimaxSteps]):
    """A denoiser that is fine-tuned, in place.

    Randomness: `rng("minimax-order", epoch)` for the order of the images, `rng("minimax-step", number)` for what a step of the
    optimiser draws: times, dropped labels, noise.
    """

    what: ClassVar[str] = "fine-tuning of the denoiser"
    block: ClassVar[int] = 20

    def __init__(self, denoiser: Denoiser, settings: MinimaxSettings, dataset: Dataset, rng: Rng, compute: Compute):
        self.denoiser, self.settings, self.dataset, self.rng, self.compute = denoiser, settings, dataset, rng, compute
        super().__init__(settings.iterations)
        self.prediction = prediction(denoiser.config.prediction)
        self.batch_size = min(settings.batch, len(dataset.train))
        self.net = denoiser.to(compute.device).net.train()
        self.moving = mark_difffit(self.net)
        self.called = compute.compiled(self.net)
        self.optimiser = make(self.net, "adamw", settings.lr)
        self.average = [p.detach().clone() for p in self.moving]
        self.real, self.pseudo = Memory(settings.memory), Memory(settings.memory)

    def trained(self, numbers: range) -> MinimaxSteps:
        """See `InBlocks`."""
        watched: list[Tensor] = []
        with self.compute.autocast():
            for number in numbers:
                watched.append(self._moved(number))
        loss, away, alike = torch.stack(watched).double().mean(0).tolist()
        return MinimaxSteps(self.step, loss, away, alike)

    def moving_parts(self) -> Iterable[Tensor]:
        """See `InBlocks`."""
        return self.moving

    def _moved(self, number: int) -> Tensor:
        """One step of the optimiser; its loss and both means of cosines `(3,)`."""
        batch, y = self._batch(number)
        seen: list[Tensor] = []

        def loss(output: Tensor, target: Tensor) -> Tensor:
            z0 = self.prediction.clean(batch.x, output, batch.t, self.denoiser.abar)
            away, alike, weight = cosines(z0, y, self.real.of, self.pseudo.of)
            seen.extend((z0.detach(), (weight * away).sum().detach(), (weight * alike).sum().detach()))
            terms = self.settings.positive * away + self.settings.negative * alike
            return squared_error(output, target) + len(y) * weight * terms

        losses: list[Tensor] = []
        fit(
            self.called,
            self.optimiser,
            [Batch((batch.x, batch.t, batch.label), batch.target)],
            loss,
            generator=self.rng("minimax-training", number),
            device=self.compute.device,
            seen=lambda _, output, value: losses.append(value),
        )
        z0, away, alike = seen
        self.real.add(batch.z0, y)
        self.pseudo.add(z0.to(batch.z0), y)
        torch._foreach_lerp_(self.average, [p.detach() for p in self.moving], 1 - self.settings.ema)
        return torch.stack((losses[0].float(), away, alike))

    def _batch(self, number: int) -> tuple[Noised, Tensor]:
        """What a step trains on, and the classes of its images."""
        train, device = self.dataset.train, self.compute.device
        epoch, place = divmod(number, len(train) // self.batch_size)
        order = torch.randperm(len(train), generator=self.rng("minimax-order", epoch))
        rows = order[place * self.batch_size : (place + 1) * self.batch_size]
        generator = self.rng("minimax-step", number)
        made = noised(self.denoiser, train, rows, self.settings.label_drop, generator, device)
        return made, train.labels[rows].to(device)

    def state(self) -> dict[str, Tensor]:
        """The parameters that move, their average, the optimiser and both memories."""
        own = {f"{NET}{i}": p.detach().clone() for i, p in enumerate(self.moving)}
        own |= {f"{AVERAGE}{i}": t.clone() for i, t in enumerate(self.average)}
        for prefix, memory in ((REAL, self.real), (PSEUDO, self.pseudo)):
            own |= {f"{prefix}{label}": held.clone() for label, held in memory.of.items()}
        held = {name: tensor.clone() for name, tensor in optimiser_state(self.optimiser).items()}
        return {"step": torch.tensor(self.step), **own, **held}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the block at which `state` was taken."""
        self.step = int(state["step"])
        with torch.no_grad():
            for i, (parameter, average) in enumerate(zip(self.moving, self.average, strict=True)):
                parameter.copy_(state[f"{NET}{i}"])
                average.copy_(state[f"{AVERAGE}{i}"])
        device = self.compute.device
        for prefix, memory in ((REAL, self.real), (PSEUDO, self.pseudo)):
            held = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
            memory.of = {int(label): tensor.to(device) for label, tensor in held.items()}
        restore_optimiser(self.optimiser, state)

    def artifact(self) -> Denoiser:
        """The denoiser with the average of the weights so far."""
        net = copy.deepcopy(self.net).eval()
        with torch.no_grad():
            for parameter, average in zip((p for p in net.parameters() if p.requires_grad), self.average, strict=True):
                parameter.copy_(average)
        return replace(self.denoiser, net=net.requires_grad_(False), method=METHOD.name)

    def result(self) -> Result:
        """The denoiser and the numbers of its fine-tuning."""
        moved = sum(p.numel() for p in self.moving)
        return Result(self.artifact(), {"finetuning": asdict(self.settings), "moved": moved, "images": len(self.dataset.train)})
