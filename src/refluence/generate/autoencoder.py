"""The autoencoder of a latent denoiser of our own: diffusers' `AutoencoderKL`, small, and the loss that it is trained by.

    q(z | x) = N(mu(x), sigma(x)^2),   z = mu + sigma n,   x_hat = D(z)        x: d numbers from -1 to 1, n standard normal
    loss     = (|x - x_hat|_1 + beta KL) / d,                                  beta = 1e-6
    KL       = 1/2 sum (mu^2 + sigma^2 - 1 - log sigma^2)                      KL(q(z | x) || N(0, 1))

Latent diffusion (LDM, arXiv 2112.10752, section 3.1 and its code) has this loss with two terms more, a perceptual and an
adversarial one. Both are left out: they need a pretrained network and a second one. L1 and beta are LDM's; squared error would
blur edges more. Division by d is ours; Adam does not see it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from refluence.errors import InputError, option
from refluence.generate.codec import Shape
from refluence.generate.extra import need_diffusers

BETA = 1e-6  # of the KL term
GROWTH = (1, 2, 4)  # channels of a stage, in those of the first; the last number holds for all further stages
LEAST, AUTO = 32, 96  # pixels of the shorter side, from which on latents are possible, and are what `auto` chooses
FINE = 128  # pixels of the longer side up to which a latent stands for 4 x 4 of them; for 8 x 8 above


@dataclass(frozen=True)
class AutoencoderConfig:
    """Everything that builds the network beside the channels of the images.

    Args:
        factor: pixels a side that a latent stands for, a power of 2.
        latents: channels of the latents.
        width: channels of the first stage, a multiple of 4.
        layers: residual blocks of a stage; its decoder has one more.

    Raises:
        InputError: another factor or width.
    """

    factor: int = 4
    latents: int = 4
    width: int = 16
    layers: int = 1

    def __post_init__(self) -> None:
        uneven = self.factor < 2 or self.factor & (self.factor - 1) or self.width % 4
        if uneven or min(self.latents, self.width, self.layers) < 1:
            raise InputError(
                f"an autoencoder of factor {self.factor}, width {self.width}, {self.latents} latents and {self.layers} layers: "
                "the factor must be a power of 2, the width a multiple of 4, the others at least 1"
            )

    def shape(self, pixels: Shape) -> Shape:
        """Of the latents, from that of the images. `InputError` where the factor does not divide them."""
        if pixels[1] % self.factor or pixels[2] % self.factor:
            raise InputError(
                f"an autoencoder of factor {self.factor} does not divide images of {pixels[1]} x {pixels[2]} pixels"
            )
        return self.latents, pixels[1] // self.factor, pixels[2] // self.factor


def factor_of(shape: Shape) -> int:
    """Pixels a side of a latent, by the longer side of the images: 4 up to 128, so that 96 pixels have 24 latents; 8 above."""
    return 4 if max(shape[1:]) <= FINE else 8


def lacks_latents(shape: Shape) -> str:
    """Why images of this shape have no latents, in words; nothing where they have."""
    factor, sides = factor_of(shape), f"{shape[1]} x {shape[2]} pixels"
    if min(shape[1:]) < LEAST:
        return f"images of {sides} are too small for latents, which begin at {LEAST} pixels a side"
    if shape[1] % factor or shape[2] % factor:
        near = option("image_size", min(shape[1:]) // factor * factor)
        return f"images of {sides} have no latents: their sides must be multiples of {factor}, as {near} reads them"
    return ""


def build_autoencoder(config: AutoencoderConfig, shape: Shape) -> nn.Module:
    """A new network for images `(C, H, W)`, initialised from PyTorch's global state.

    Raises:
        InputError: diffusers is not installed.
    """
    need_diffusers("an autoencoder for latents")
    stages = int(math.log2(config.factor)) + 1
    channels = tuple(config.width * GROWTH[min(i, len(GROWTH) - 1)] for i in range(stages))
    net: nn.Module = import_module("diffusers").AutoencoderKL(
        in_channels=shape[0],
        out_channels=shape[0],
        down_block_types=("DownEncoderBlock2D",) * stages,
        up_block_types=("UpDecoderBlock2D",) * stages,
        block_out_channels=channels,
        layers_per_block=config.layers,
        latent_channels=config.latents,
        norm_num_groups=min(config.width // 4, 32),
        sample_size=max(shape[1:]),
        scaling_factor=1.0,
    )
    return net


class Autoencoding(nn.Module):
    """`(x (B, C, H, W) from -1 to 1, n like the latents) -> (B, 2)`: both terms of the loss for each image."""

    def __init__(self, vae: nn.Module):
        super().__init__()
        self.vae: Any = vae

    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        """See the class."""
        q = self.vae.encode(x).latent_dist
        mean, log_variance = q.mean.float(), q.logvar.float()
        output: Tensor = self.vae.decode(mean + (log_variance / 2).exp() * n).sample
        return terms(x, output.float(), mean, log_variance)


def terms(x: Tensor, output: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The mean absolute error of each image, and its KL as a share of its numbers: `(B, 2)`.

    Example:
        >>> x = torch.zeros(1, 1, 2, 2)
        >>> terms(x, x + 0.5, torch.full((1, 1, 1, 1), 2.0), torch.zeros(1, 1, 1, 1)).tolist()
        [[0.5, 0.5]]
    """
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1) / 2
    return torch.stack(((x - output).abs().flatten(1).mean(1), kl / x[0].numel()), 1)


def weighed(found: Tensor, shares: Tensor) -> Tensor:
    """The loss of each image `(B,)` from its terms `(B, 2)` and their shares `(2,)`: 1 and beta."""
    return found @ shares


def psnr(pixels: Tensor, decoded: Tensor) -> Tensor:
    """-10 log10 of the mean squared error of each image `(B,)`, pixels of 0 to 1: an error of a tenth is 20 dB."""
    return -10 * (pixels - decoded.clamp(0, 1)).square().flatten(1).mean(1).clamp_min(1e-10).log10()
