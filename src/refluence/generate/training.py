"""A denoiser trained from scratch, as a work (work.py): blocks of at most 20 steps of AdamW on the mean squared error.

    flow       |v_theta((1 - tau) z_0 + tau eps, tau, y) - (eps - z_0)|^2 / d     tau = 1 / (1 + exp(-g)), g standard normal
    epsilon    |eps_theta(a_t z_0 + s_t eps, t, y) - eps|^2 / d                   t even on the steps of the schedule
    v          |v_theta(a_t z_0 + s_t eps, t, y) - (a_t eps - s_t z_0)|^2 / d     t alike

A label becomes the null class with probability `label_drop`, drawn once for a sample. The denoiser that results has the running
average of the weights. What a step draws follows from its number alone, so that a stopped training continues to the same bits.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.fields import check, described, setting
from refluence.generate.autoencoder import AutoencoderConfig
from refluence.generate.blocks import InBlocks
from refluence.generate.codec import Codec, Shape
from refluence.generate.denoiser import Denoiser, build_denoiser
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.noising import noised, squared_error
from refluence.generate.unet import unet_sizes
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.optimisers import Average, make, optimiser_state, restore_optimiser
from refluence.training.schedules import triangle
from refluence.work import Result

SMALL = 12  # the longer side of images of which 2 pixels are much
NET, AVERAGE = "net.", "average."  # before names in a state


@described
@dataclass(frozen=True)
class DenoiserSettings:
    """Numbers of a training.

    Raises:
        InputError: a value outside its range.
    """

    iterations: int = setting(1000, "Steps of the optimiser.", least=1)
    batch: int = setting(128, "Images a step.", least=1)
    lr: float = setting(1e-3, "Learning rate of AdamW, at its highest.", above=0)
    rise: float = setting(
        0.05, "Share of the steps in which the rate rises from 0; in the others it falls to 0.", least=0, below=1
    )
    weight_decay: float = setting(0.0, "Weight decay.", least=0)
    ema: float = setting(0.99, "Decay of the average of the weights.", least=0, below=1)
    label_drop: float = setting(0.1, "Share of the samples that are trained on as of no class.", least=0, most=1)

    def __post_init__(self) -> None:
        check(self)


def denoising_defaults(
    shape: Shape, classes: Sequence[str], size: str = "cpu", kind: str = "dit", autoencoder: AutoencoderConfig | None = None
) -> tuple[DenoiserConfig, DenoiserSettings]:
    """The denoiser of a size and its training, by the sides of the images or of their latents; all of them ours.

    Args:
        shape: `(C, H, W)` of the images.
        classes: their names.
        size: `cpu` trains in minutes on two cores, `paper` takes an accelerator.
        kind: `dit` or `unet`.
        autoencoder: of a denoiser in latents.
    """
    z = shape if autoencoder is None else autoencoder.shape(shape)
    config = partial(DenoiserConfig, shape, tuple(classes), kind, autoencoder=autoencoder)
    if kind == "unet":
        width, depth, heads = unet_sizes(z, size)
        return config(width=width, depth=depth, heads=heads), _of_unet(z, size)
    if size == "paper":
        large = config(patch=patch_of(z, 16), width=384, depth=8, heads=6)
        return large, DenoiserSettings(iterations=100_000, batch=256, lr=3e-4, ema=0.999)
    if max(z[1:]) <= SMALL:
        small = config(patch=patch_of(z, 4), width=64, depth=3)
        return small, DenoiserSettings(iterations=600, batch=64, lr=6e-3, ema=0.98)
    middle = config(patch=patch_of(z, 8), width=128, depth=4)
    return middle, DenoiserSettings(iterations=4000, batch=64, lr=1.5e-3, ema=0.99)


def _of_unet(shape: Shape, size: str) -> DenoiserSettings:
    if size == "paper":
        return DenoiserSettings(iterations=100_000, batch=256, lr=2e-4, ema=0.999)
    if max(shape[1:]) <= SMALL:
        return DenoiserSettings(iterations=400, batch=64)
    return DenoiserSettings(iterations=4000, batch=64, ema=0.995)


def patch_of(shape: Shape, most: int) -> int:
    """The smallest side of a patch that divides both sides of the images, of which at most `most` lie along the longer."""
    height, width = shape[1:]
    sides = (p for p in range(1, min(height, width) + 1) if height % p == 0 and width % p == 0)
    kept = [p for p in sides if max(height, width) // p <= most]
    return kept[0] if kept else math.gcd(height, width)


@dataclass(frozen=True)
class DenoiserSteps:
    """Some steps of a denoiser's optimiser: their mean loss, and the learning rate of the last."""

    step: int
    loss: float
    lr: float


class DenoiserWork(InBlocks[DenoiserSteps]):
    """A denoiser on its way.

    Randomness: `rng("denoiser-network")` for the first weights; `rng("denoiser-step", number)` for what a step of the optimiser
    draws: images, times, dropped labels, noise.
    """

    what: ClassVar[str] = "training of the denoiser"
    block: ClassVar[int] = 20

    def __init__(self, config: DenoiserConfig, settings: DenoiserSettings, dataset: Dataset, rng: Rng, compute: Compute):
        self.config, self.settings, self.dataset, self.rng, self.compute = config, settings, dataset, rng, compute
        super().__init__(settings.iterations)
        self.denoiser = build_denoiser(config, rng("denoiser-network", 0)).to(compute.device)
        self.denoiser.net.train()
        self.called = compute.compiled(self.denoiser.net)
        self.optimiser = make(self.denoiser.net, "adamw", settings.lr, weight_decay=settings.weight_decay)
        self.average = Average(self.denoiser.net, settings.ema)
        self.encoded: Tensor | None = None  # the training images, where they are encoded once

    def learn_in(self, codec: Codec, encoded: Tensor | None) -> None:
        """Learn from what `codec` makes of the images; `encoded`: it is there for all training images."""
        self.denoiser.codec, self.encoded = codec, encoded

    def trained(self, numbers: range) -> DenoiserSteps:
        """See `InBlocks`."""
        losses: list[Tensor] = []
        with self.compute.autocast():
            fit(
                self.called,
                self.optimiser,
                (self.batch(number) for number in numbers),
                squared_error,
                schedule=lambda number: self.rate(numbers[number]),
                generator=self.rng("denoiser-training", numbers[0]),
                device=self.compute.device,
                seen=lambda batch, output, value: losses.append(value),
                stepped=lambda: self.average.update(self.denoiser.net),
            )
        loss = float(torch.stack(losses).double().mean())
        return DenoiserSteps(self.step, loss, self.rate(numbers[-1]))

    def moving_parts(self) -> Iterable[Tensor]:
        """See `InBlocks`."""
        return self.denoiser.net.parameters()

    def rate(self, number: int) -> float:
        """The learning rate of a step of the optimiser, from 0 on."""
        return self.settings.lr * triangle(number + 1, self.settings.iterations, self.settings.rise)

    def batch(self, number: int) -> Batch[Tensor]:
        """What a step of the optimiser trains on: noised images, times and labels, and what the network should give."""
        generator, train, device = self.rng("denoiser-step", number), self.dataset.train, self.compute.device
        rows = torch.randint(len(train), (self.settings.batch,), generator=generator)
        made = noised(self.denoiser, train, rows, self.settings.label_drop, generator, device, self.encoded)
        return Batch((made.x, made.t, made.label), made.target, rows=rows)

    def state(self) -> dict[str, Tensor]:
        """The network, the average of its weights and the optimiser."""
        return {
            "step": torch.tensor(self.step),
            **{f"{NET}{name}": tensor for name, tensor in self.denoiser.state().items()},
            **{f"{AVERAGE}{number}": hidden.clone() for number, hidden in enumerate(self.average.hidden)},
            **{name: tensor.clone() for name, tensor in optimiser_state(self.optimiser).items()},
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the block at which `state` was taken."""
        self.step = int(state["step"])
        self.denoiser.load_state({name.removeprefix(NET): t for name, t in state.items() if name.startswith(NET)})
        self.average.steps = self.units(self.step)
        for number, hidden in enumerate(self.average.hidden):
            hidden.copy_(state[f"{AVERAGE}{number}"])
        restore_optimiser(self.optimiser, state)

    def artifact(self) -> Denoiser:
        """The denoiser with the average of the weights so far."""
        averaged = replace(self.denoiser, net=copy.deepcopy(self.denoiser.net))
        if self.average.steps:
            self.average.put(averaged.net)
        averaged.net.eval()
        return averaged

    def result(self) -> Result:
        """The denoiser and the numbers of its training."""
        denoiser = self.artifact()
        return Result(denoiser, {"training": asdict(self.settings), "images": len(self.dataset.train)})
