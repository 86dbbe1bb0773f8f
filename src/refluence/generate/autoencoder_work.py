"""An autoencoder trained from scratch, in blocks of at most 10 steps of AdamW on the loss of autoencoder.py.

What a step draws follows from its number alone, so that a stopped training continues to the same bits. Latents are divided by
their deviation over the training images, one number for all channels, as LDM does (arXiv 2112.10752, appendix G).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.data.dataset import Dataset, Split, unit
from refluence.errors import RunError
from refluence.fields import check, described, setting
from refluence.generate.autoencoder import (
    BETA,
    AutoencoderConfig,
    Autoencoding,
    build_autoencoder,
    factor_of,
    psnr,
    weighed,
)
from refluence.generate.blocks import InBlocks
from refluence.generate.codec import Shape
from refluence.generate.latent import Latents
from refluence.randomness import seeded
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.optimisers import make, optimiser_state, restore_optimiser
from refluence.training.predict import predict
from refluence.training.schedules import triangle

NET = "net."  # before names in a state
MEASURED = 2048  # training images, at most, that the deviation of latents is measured on
LOOKED_AT = 200  # images of a split, at most, that are decoded again to say how well
CHUNK = 64  # images that are fetched at a time
HELD = 2**31  # bytes of latents that are kept of all training images; where there are more, each step encodes its own


@described
@dataclass(frozen=True)
class AutoencoderSettings:
    """Numbers of a training.

    Raises:
        InputError: a value outside its range.
    """

    iterations: int = setting(2000, "Steps of the optimiser.", least=1)
    batch: int = setting(8, "Images a step.", least=1)
    lr: float = setting(2e-3, "Learning rate of AdamW, at its highest.", above=0)
    rise: float = setting(
        0.05, "Share of the steps in which the rate rises from 0; in the others it falls to 0.", least=0, below=1
    )

    def __post_init__(self) -> None:
        check(self)


def autoencoder_defaults(shape: Shape, size: str = "cpu") -> tuple[AutoencoderConfig, AutoencoderSettings]:
    """The autoencoder of a size for images `(C, H, W)`, and its training. The widths of `paper` are LDM's, all else is ours."""
    factor = factor_of(shape)
    if size == "paper":
        return AutoencoderConfig(factor, width=128, layers=2), AutoencoderSettings(iterations=100_000, batch=16, lr=1e-4)
    return AutoencoderConfig(factor), AutoencoderSettings()


@dataclass(frozen=True)
class AutoencoderSteps:
    """Some steps: the means of both terms, and the learning rate of the last."""

    step: int
    reconstruction: float
    kl: float
    lr: float


class AutoencoderWork(InBlocks[AutoencoderSteps]):
    """An autoencoder on its way.

    Randomness: `rng("autoencoder-network")` for the first weights; `rng("autoencoder-step", number)` for what a step of the
    optimiser draws: images and the noise of their latents.
    """

    what: ClassVar[str] = "training of the autoencoder"
    block: ClassVar[int] = 10

    def __init__(self, config: AutoencoderConfig, settings: AutoencoderSettings, dataset: Dataset, rng: Rng, compute: Compute):
        self.settings, self.dataset, self.rng, self.compute = settings, dataset, rng, compute
        super().__init__(settings.iterations)
        self.latent = config.shape(dataset.shape)
        with seeded(rng("autoencoder-network", 0)):
            self.net = Autoencoding(build_autoencoder(config, dataset.shape)).to(compute.device).train()
        self.called = compute.compiled(self.net)
        self.optimiser = make(self.net, "adamw", settings.lr)

    def trained(self, numbers: range) -> AutoencoderSteps:
        """See `InBlocks`."""
        found: list[Tensor] = []
        with self.compute.autocast():
            fit(
                self.called,
                self.optimiser,
                (self.batch(number) for number in numbers),
                weighed,
                schedule=lambda number: self.rate(numbers[number]),
                generator=self.rng("autoencoder-training", numbers[0]),
                device=self.compute.device,
                seen=lambda batch, terms, value: found.append(terms),
            )
        reconstruction, kl = torch.cat(found).double().mean(0).tolist()
        return AutoencoderSteps(self.step, reconstruction, kl, self.rate(numbers[-1]))

    def moving_parts(self) -> Iterable[Tensor]:
        """See `InBlocks`."""
        return self.net.parameters()

    def rate(self, number: int) -> float:
        """The learning rate of a step of the optimiser, from 0 on."""
        return self.settings.lr * triangle(number + 1, self.settings.iterations, self.settings.rise)

    def batch(self, number: int) -> Batch[Tensor]:
        """What a step of the optimiser trains on: images, noise of their latents, and the shares of the terms of the loss."""
        generator, train, device = self.rng("autoencoder-step", number), self.dataset.train, self.compute.device
        rows = torch.randint(len(train), (self.settings.batch,), generator=generator)
        noise = torch.randn(len(rows), *self.latent, generator=generator)
        x = 2 * unit(train.images[rows].to(device)) - 1
        return Batch((x, noise.to(device)), torch.tensor([1, BETA], device=device), rows=rows)

    def state(self) -> dict[str, Tensor]:
        """The network and the optimiser."""
        net = {f"{NET}{name}": tensor.detach().clone() for name, tensor in self.net.vae.state_dict().items()}
        own = {name: tensor.clone() for name, tensor in optimiser_state(self.optimiser).items()}
        return {"step": torch.tensor(self.step), **net, **own}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the block at which `state` was taken."""
        self.step = int(state["step"])
        self.net.vae.load_state_dict({name.removeprefix(NET): t for name, t in state.items() if name.startswith(NET)})
        restore_optimiser(self.optimiser, state)

    def latents(self) -> Latents:
        """A copy as it stands now, as a codec. Its latents are not scaled."""
        return Latents(copy.deepcopy(self.net.vae), 1.0)

    def scaled(self) -> Latents:
        """The same, with latents of deviation 1 on the training images.

        Raises:
            RunError: all images have the same latents.
        """
        codec, train = self.latents(), self.dataset.train
        deviation = float(self._encoded(codec, spread(train, MEASURED)).double().std())
        if not 0 < deviation < float("inf"):
            raise RunError(f"the latents of the autoencoder have deviation {deviation:g}: nothing can be noised")
        codec.scale = 1 / deviation
        return codec

    def encoded(self, codec: Latents) -> Tensor | None:
        """The latents of all training images, on the CPU; None where they are more than is kept."""
        train = self.dataset.train
        if 4 * len(train) * self.latent[0] * self.latent[1] * self.latent[2] > HELD:
            return None
        return self._encoded(codec, torch.arange(len(train)))

    def _encoded(self, codec: Latents, rows: Tensor) -> Tensor:
        return predict(lambda x: codec.encode(x).cpu(), self._images(self.dataset.train, rows), len(rows), CHUNK)

    def _images(self, split: Split, rows: Tensor) -> Callable[[slice], Tensor]:
        return lambda part: unit(split.images[rows[part]].to(self.compute.device))

    def quality(self, codec: Latents) -> dict[str, float]:
        """The mean PSNR in dB of training and of validation images that are decoded again, some of each."""
        found = {}
        for name, split in (("train", self.dataset.train), ("val", self.dataset.val)):
            if len(split):
                rows = spread(split, LOOKED_AT)
                of = predict(lambda x: psnr(x, codec.decode(codec.encode(x))), self._images(split, rows), len(rows), CHUNK)
                found[name] = float(of.double().mean())
        return found


def spread(split: Split, most: int) -> Tensor:
    """Positions of at most so many images, evenly spread."""
    count = min(len(split), most)
    return torch.arange(count) * len(split) // count
