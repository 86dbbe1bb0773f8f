"""Networks by name (`convnet`, `convnet3`, …), initialised from a generator: never from the global random state."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import torch
from torch import nn

from refluence.errors import InputError
from refluence.models.convnet import NORMS, ConvNet, check_depth, default_depth

MODELS = {"convnet": "ConvNet, depth by image size", "convnet1 … convnet6": "ConvNet of a named depth, as far as it fits"}


@dataclass(frozen=True)
class ModelSpec:
    """What it takes to build a network again: name, input shape `(C, H, W)`, classes, width, norm."""

    name: str
    shape: tuple[int, int, int]
    classes: int
    width: int = 128
    norm: str = "instance"

    def __post_init__(self):
        match = re.fullmatch(r"convnet(\d*)", self.name)
        if not match:
            raise InputError(f"unknown model '{self.name}': choose one of {', '.join(MODELS)}")
        if self.norm not in NORMS:
            raise InputError(f"unknown norm '{self.norm}': choose one of {', '.join(NORMS)}")
        if self.width < 1:
            raise InputError(f"the network's width is {self.width}: it must be at least 1")
        if not match[1]:
            object.__setattr__(self, "name", f"convnet{default_depth(min(self.shape[1:]))}")
        check_depth(int(self.name[7:]), self.shape[0], self.shape[1:])

    def with_(self, **changes) -> ModelSpec:
        """A copy with some fields changed."""
        return replace(self, **changes)


def build(spec: ModelSpec, generator: torch.Generator, device: str | torch.device = "cpu") -> nn.Module:
    """A freshly initialised network, in training mode. Same generator state, same weights on every device."""
    with torch.device("meta"):
        net = ConvNet(spec.shape[0], spec.shape[1:], spec.classes, width=spec.width, depth=int(spec.name[7:]), norm=spec.norm)
    return initialise(net.to_empty(device="cpu"), generator).to(device)


@torch.no_grad()
def initialise(net: nn.Module, generator: torch.Generator) -> nn.Module:
    """PyTorch's default initialisation (Kaiming uniform, a = sqrt 5; norms at one and zero), drawn from `generator`."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            bound = 1 / math.sqrt(fan_in)
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        elif hasattr(module, "reset_running_stats"):
            module.reset_running_stats()
            module.reset_parameters()
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return net
