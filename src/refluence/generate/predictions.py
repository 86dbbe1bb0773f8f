"""What the network of a denoiser gives, and the clean images and noise that follow from it.

Every denoiser is called in variance-preserving coordinates, whatever its network was trained in, so every solver serves it:

    z_t = a z_0 + s eps,    a = sqrt(abar_t),  s = sqrt(1 - abar_t)

    epsilon    the network gives eps, from z_t and the number of the step:  z_0 = (z_t - s eps) / a
    flow       it gives v = eps - z_0, from (1 - tau) z_0 + tau eps and 1000 tau. With tau = s / (a + s) the former is
               z_t / (a + s), so
               z_0 = z_t / (a + s) - tau v  and  eps = z_t / (a + s) + (1 - tau) v
    v          it gives v = a eps - s z_0 (arXiv 2202.00512, appendix D), from z_t and the number of the step:
               z_0 = a z_t - s v  and  eps = s z_t + a v

Training draws tau of the flow as 1 / (1 + exp(-g)), g a standard normal (Stable Diffusion 3, arXiv 2403.03206), and the step of
epsilon and v evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from refluence.errors import InputError, did_you_mean

STEPS = 1000  # of the schedule; networks see times from 0 to 1000


def linear_abar() -> Tensor:
    """abar `(1000,)` float64 of DiT's schedule: the products of 1 - beta, beta from 1e-4 to .02."""
    return (1 - torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)).cumprod(0)


class Prediction(Protocol):
    """A kind of output of a network."""

    def seen(self, z: Tensor, t: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is called with: its images and times `(B,)`, from z `(B, C, H, W)` at the steps t `(B,)`, where the
        schedule is abar `(B,)`."""

    def estimates(self, z: Tensor, output: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """z_0 and eps, from z and what the network gave."""

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """Times `(count,)` of 0 to 1000 to train at."""

    def training_pair(self, z0: Tensor, noise: Tensor, t: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """The images that the network sees at times t `(B,)`, and what it should give. `abar` is the whole schedule `(T,)`."""

    def clean(self, x: Tensor, output: Tensor, t: Tensor, abar: Tensor) -> Tensor:
        """z_0 as the network gives it in training: from the images that it saw at times t `(B,)`, and the whole schedule."""


@dataclass(frozen=True)
class Epsilon:
    """The network gives the noise."""

    def seen(self, z: Tensor, t: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prediction`."""
        return z, t.to(z.dtype)

    def estimates(self, z: Tensor, output: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prediction`."""
        a, s = shares(abar, z)
        return (z - s * output) / a, output

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """See `Prediction`."""
        return torch.randint(STEPS, (count,), generator=generator).float()

    def training_pair(self, z0: Tensor, noise: Tensor, t: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prediction`."""
        a, s = shares(abar.to(t.device)[t.long()], z0)
        return a * z0 + s * noise, noise

    def clean(self, x: Tensor, output: Tensor, t: Tensor, abar: Tensor) -> Tensor:
        """See `Prediction`."""
        a, s = shares(abar.to(t.device)[t.long()], x)
        return (x - s * output) / a


@dataclass(frozen=True)
class Velocity(Epsilon):
    """The network gives the velocity a eps - s z_0 of the way round a circle; it sees what `Epsilon` sees."""

    def estimates(self, z: Tensor, output: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prediction`."""
        a, s = shares(abar, z)
        return a * z - s * output, s * z + a * output

    def training_pair(self, z0: Tensor, noise: Tensor, t: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prediction`."""
        a, s = shares(abar.to(t.device)[t.long()], z0)
        return a * z0 + s * noise, a * noise - s * z0

    def clean(self, x: Tensor, output: Tensor, t: Tensor, abar: Tensor) -> Tensor:
        """See `Prediction`."""
        a, s = shares(abar.to(t.device)[t.long()], x)
        return a * x - s * output


@dataclass(frozen=True)
class Flow:
    """The network gives the velocity eps - z_0 of a straight path."""

    def seen(self, z: Tensor, t: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prediction`."""
        a, s = shares(abar, z)
        return z / (a + s), (STEPS * s / (a + s)).flatten()

    def estimates(self, z: Tensor, output: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prediction`."""
        a, s = shares(abar, z)
        on_path, tau = z / (a + s), s / (a + s)
        return on_path - tau * output, on_path + (1 - tau) * output

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """See `Prediction`."""
        return STEPS * torch.randn(count, generator=generator).sigmoid()

    def training_pair(self, z0: Tensor, noise: Tensor, t: Tensor, abar: Tensor) -> tuple[Tensor, Tensor]:
        """See `Prediction`."""
        tau = (t / STEPS).to(z0.dtype).view(-1, 1, 1, 1)
        return (1 - tau) * z0 + tau * noise, noise - z0

    def clean(self, x: Tensor, output: Tensor, t: Tensor, abar: Tensor) -> Tensor:
        """See `Prediction`."""
        return x - (t / STEPS).to(x.dtype).view(-1, 1, 1, 1) * output


PREDICTIONS: dict[str, Prediction] = {"flow": Flow(), "epsilon": Epsilon(), "v": Velocity()}


def prediction(name: str) -> Prediction:
    """The prediction of this name. `InputError` where there is none."""
    if name not in PREDICTIONS:
        raise InputError(f"unknown prediction {name!r}: {did_you_mean(name, PREDICTIONS)}")
    return PREDICTIONS[name]


def shares(abar: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """a and s `(B, 1, 1, 1)` in the precision of z, from abar `(B,)` in float64."""
    a, s = abar.sqrt(), (1 - abar).sqrt()
    return a.to(z.dtype).view(-1, 1, 1, 1), s.to(z.dtype).view(-1, 1, 1, 1)
