"""Minimax fine-tuning of a denoiser (arXiv 2311.15529): its samples shall represent the data, and differ from each other.

    L = mean_i |eps_theta(z_i) - eps_i|^2 / d  +  lambda_pos P + lambda_neg N                  (of a flow model its own loss)
    P = 1/|C_b| sum_c mean_{i of c} (1 - min_{r in real_c} cos(z0_i, r))                       representative
    N = 1/|C_b| sum_c mean_{i of c} max_{p in pseudo_c} cos(z0_i, p)                           diverse

C_b are the classes of the batch; real_c and pseudo_c are the last 64 real latents of class c and the last 64 predictions for
it, as they were before the step. Only biases, norms, scales and embeddings of labels move (DiffFit, arXiv 2304.06648).

Unlike the released code: z0 is the predicted clean latent (the code takes the network's output, noise, as it is), the least and
the greatest cosine are those of each image (the code takes one for all of a class in the batch), and the loss has no term for
a learned variance. What a step draws follows from its number alone: a stopped fine-tuning continues to the same bits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.fields import check, described, setting
from refluence.generate.denoiser import Denoiser
from refluence.generate.memory import Memory
from refluence.generate.method import Generator
from refluence.generate.noising import Noised, noised, squared_error
from refluence.generate.predictions import prediction
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.optimisers import make, optimiser_state, restore_optimiser
from refluence.work import Cost, Result

METHOD = Generator(
    "minimax", "dit, its denoiser fine-tuned to represent the data and to differ", "arXiv 2311.15529", finetuned=True
)

BLOCK = 20  # steps of the optimiser between two checkpoints, at most
EPOCHS, MOST = 8, 1000  # over the training images, as published; steps at size cpu
NET, AVERAGE, REAL, PSEUDO = "net.", "average.", "real.", "pseudo."  # before names in a state


@described
@dataclass(frozen=True)
class MinimaxSettings:
    """Numbers of a fine-tuning.

    Raises:
        InputError: a value outside its range.
    """

    iterations: int = setting(1000, "Steps of the optimiser.", least=1)
    batch: int = setting(8, "Images a step, at most all of them.", least=1)
    lr: float = setting(1e-3, "Learning rate of AdamW.", above=0)
    memory: int = setting(64, "Real latents and predictions of each class that are kept.", least=1)
    positive: float = setting(0.002, "lambda_pos: weight of the least cosine with a real latent of the class.", least=0)
    negative: float = setting(0.008, "lambda_neg: weight of the greatest cosine with a prediction of the class.", least=0)
    ema: float = setting(0.9999, "Decay of the average of the weights, which begins where they begin.", least=0, below=1)
    label_drop: float = setting(0.1, "Share of the samples that are trained on as of no class.", least=0, most=1)

    def __post_init__(self) -> None:
        check(self)


def minimax_defaults(size: str, images: int) -> MinimaxSettings:
    """The numbers of a size, for so many images.

    `paper`: 8 epochs in batches of 8, as published. `cpu` (ours): as many epochs, but at most 1000 steps, in batches of 16, and
    an average over about 100 steps.

    Example:
        >>> minimax_defaults("paper", 9469).iterations, minimax_defaults("cpu", 1078).iterations
        (9464, 536)
    """
    if size == "paper":
        return MinimaxSettings(iterations=EPOCHS * max(1, images // 8))
    return MinimaxSettings(iterations=min(MOST, EPOCHS * max(1, images // 16)), batch=16, ema=0.99)


def cosines(z0: Tensor, y: Tensor, real: dict[int, Tensor], pseudo: dict[int, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """For each image 1 - its least cosine with a real latent of its class, and its greatest with a prediction; and its weight.

    Args:
        z0: predicted clean latents `(B, ...)`.
        y: their classes `(B,)`.
        real: latents `(M, ...)` of each class; of one that is not there, both numbers are 0.
        pseudo: earlier predictions `(M, ...)` of each class, for the same classes.

    Returns:
        Three times `(B,)`. The sum of weight times number is P or N: a class of the batch counts as another, and an image of it
        as another.
    """
    flat, classes = F.normalize(z0.flatten(1), dim=1), y.unique().tolist()
    away, alike, weight = (z0.new_zeros(len(z0)) for _ in range(3))
    with torch.autocast(z0.device.type, enabled=False):
        for label in classes:
            own = (y == label).nonzero().flatten()
            weight[own] = 1 / (len(classes) * len(own))
            if label in real:
                to_real, to_pseudo = (flat[own] @ F.normalize(held[label].flatten(1), dim=1).T for held in (real, pseudo))
                away = away.index_put((own,), 1 - to_real.min(1).values)
                alike = alike.index_put((own,), to_pseudo.max(1).values)
    return away, alike, weight


def mark_difffit(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that DiffFit moves, and no other of the network will: vectors (biases, norms, scales) and embeddings."""
    for module in net.modules():
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(parameter.ndim < 2 or isinstance(module, nn.Embedding))
    return [p for p in net.parameters() if p.requires_grad]


@dataclass(frozen=True)
class MinimaxSteps:
    """Some steps: mean loss, and of its parts 1 - the least cosine with real latents, and the greatest with predictions."""

    step: int
    loss: float
    away: float
    alike: float


class MinimaxWork:
    """A denoiser that is fine-tuned, in place.

    Randomness: `rng("minimax-order", epoch)` for the order of the images, `rng("minimax-step", number)` for what a step of the
    optimiser draws: times, dropped labels, noise.
    """

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "A smaller lr may help, in a new run"

    def __init__(self, denoiser: Denoiser, settings: MinimaxSettings, dataset: Dataset, rng: Rng, compute: Compute):
        self.denoiser, self.settings, self.dataset, self.rng, self.compute = denoiser, settings, dataset, rng, compute
        self.prediction, self.step = prediction(denoiser.config.prediction), 0
        self.total = -(-settings.iterations // BLOCK)
        self.batch_size = min(settings.batch, len(dataset.train))
        self.net = denoiser.to(compute.device).net.train()
        self.moving = mark_difffit(self.net)
        self.called = compute.compiled(self.net)
        self.optimiser = make(self.net, "adamw", settings.lr)
        self.average = [p.detach().clone() for p in self.moving]
        self.real, self.pseudo = Memory(settings.memory), Memory(settings.memory)

    def steps(self) -> Iterator[MinimaxSteps]:
        """The blocks that are left; `RunError` where numbers are no longer finite."""
        while self.step < self.total:
            yield self._block(range(self.step * BLOCK, min((self.step + 1) * BLOCK, self.settings.iterations)))

    def _block(self, numbers: range) -> MinimaxSteps:
        watched: list[Tensor] = []
        with self.compute.autocast():
            for number in numbers:
                watched.append(self._moved(number))
        if not all(bool(p.isfinite().all()) for p in self.moving):
            raise RunError(f"fine-tuning of the denoiser diverged before iteration {numbers[-1] + 1}")
        self.step += 1
        loss, away, alike = torch.stack(watched).double().mean(0).tolist()
        return MinimaxSteps(self.step - 1, loss, away, alike)

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

    def ahead(self) -> list[Cost]:
        """What comes beside the steps, for an estimate: nothing."""
        return []

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
        return replace(self.denoiser, net=net.requires_grad_(False), method="minimax")

    def result(self) -> Result:
        """The denoiser and the numbers of its fine-tuning."""
        moved = sum(p.numel() for p in self.moving)
        return Result(self.artifact(), {"finetuning": asdict(self.settings), "moved": moved, "images": len(self.dataset.train)})
