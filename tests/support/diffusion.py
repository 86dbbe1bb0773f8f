"""A denoiser and an influence energy that are a line each, in float64, as sampling sees them; and tiny true ones."""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.generate.class_gradients import class_gradients
from refluence.generate.denoiser import Denoiser, build_denoiser
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.predictions import linear_abar
from refluence.generate.surrogate import Surrogate
from refluence.models import ModelSpec, build

SHAPE = (1, 3, 3)


class ToyDenoiser:
    """eps = tanh(W z + b_y) + z sqrt(1 - abar): smooth in z, another for each class and step."""

    def __init__(self, classes: int = 3, shape: tuple[int, int, int] = SHAPE, dtype: torch.dtype = torch.float64):
        g = torch.Generator().manual_seed(0)
        numbers = torch.Size(shape).numel()
        self.abar, self.shape, self.calls = linear_abar(), shape, 0
        self.mix = (torch.randn(numbers, numbers, generator=g, dtype=torch.float64) / numbers).to(dtype)
        self.shift = torch.randn(classes + 1, numbers, generator=g, dtype=torch.float64).to(dtype)

    def eps(self, z: Tensor, t: int, y: Tensor) -> Tensor:
        flat = z.flatten(1)
        return (torch.tanh(flat @ self.mix + self.shift[y]) / 5 + flat * float(1 - self.abar[t]) ** 0.5).view_as(z)

    def predict(self, z: Tensor, t: int, y: Tensor | None, cfg: float = 1.0) -> tuple[Tensor, Tensor]:
        self.calls += 1
        nobody = torch.full((len(z),), len(self.shift) - 1)
        eps = self.eps(z, t, nobody if y is None else y)
        if cfg != 1:
            null = self.eps(z, t, nobody)
            eps = null + cfg * (eps - null)
        a, s = float(self.abar[t]) ** 0.5, float(1 - self.abar[t]) ** 0.5
        return (z - s * eps) / a, eps

    def decode(self, z: Tensor) -> Tensor:
        return (torch.tanh(z) + 1) / 2

    def encode(self, pixels: Tensor) -> Tensor:
        return torch.atanh(2 * pixels - 1)


class ToyEnergy:
    """G(x) = sum of (x - target_y)^2 / 2 and a cubic term; `calls` counts."""

    def __init__(self, classes: int = 3, shape: tuple[int, int, int] = SHAPE, dtype: torch.dtype = torch.float64):
        g = torch.Generator().manual_seed(1)
        self.target, self.calls = torch.randn(classes, *shape, generator=g, dtype=torch.float64).to(dtype), 0

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        apart = x - self.target[y]
        return (apart.square() / 2 + apart**3 / 30).flatten(1).sum(1)

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        apart = x - self.target[y]
        return self.energy(x, y), apart + apart.square() / 10


class NoEnergy(ToyEnergy):
    """Flat: its gradient is zero everywhere."""

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x.new_zeros(len(x)), torch.zeros_like(x)


def tiny_denoiser(classes: tuple[str, ...], shape: tuple[int, int, int], seed: int = 0) -> Denoiser:
    """A transformer of random weights; fresh ones predict the same for every class."""
    g = torch.Generator().manual_seed(seed)
    denoiser = build_denoiser(DenoiserConfig(shape, classes, patch=4, width=8, depth=1, heads=2), g)
    with torch.no_grad():
        for parameter in denoiser.net.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=g)
    denoiser.net.eval()
    return denoiser


def tiny_surrogate(data: Dataset, checkpoints: int = 2) -> Surrogate:
    """Networks of random weights, with class-mean gradients of `data`."""
    model, networks = ModelSpec("convnet1", data.shape, len(data.classes), 4), []
    for number in range(checkpoints):
        networks.append(build(model, torch.Generator().manual_seed(number)))
    members = [data.train.members(c) for c in range(len(data.classes))]
    gradients = tuple(class_gradients(net, data, members) for net in networks)
    states = tuple({name: t.detach().clone() for name, t in net.state_dict().items()} for net in networks)
    rates = tuple(0.01 / (number + 1) for number in range(checkpoints))
    return Surrogate(model, states, gradients, tuple(range(checkpoints)), rates, data.mean, data.std)
