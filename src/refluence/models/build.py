"""Networks by name (`convnet3`, `resnet10`, `torchvision:vgg11`, …), initialised from a generator: never from the global
random state."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn

from refluence.errors import InputError, did_you_mean
from refluence.files import Json
from refluence.models.convnet import ConvNet, check_depth, default_depth
from refluence.models.initialise import he, initialise
from refluence.models.library import build_library, is_library, own_width_and_norm
from refluence.models.resnet import RESNETS, ResNet, check_size
from refluence.options import NORMS

MODELS = {
    "convnet": "ConvNet, depth by image size; instance norm, width 128 as published",
    "convnet1 … convnet6": "ConvNet of a named depth, as far as it fits",
    "resnet10": "ResNet-10, stem by image size (CIFAR's up to 64 pixels); batch norm, width 64",
    "resnet18": "ResNet-18, the same",
    "resnetap10": "ResNet-10 with average pools for strides; instance norm, width 64",
    "torchvision:NAME": "any of torchvision that ends in a linear layer, untrained; its own norm and width",
    "timm:NAME": "the same of timm (pip install timm)",
    "FILE.py:FUNCTION": "your own: a function (shape, classes) -> nn.Module in a file; from Python the function itself",
}
Spec = TypeVar("Spec", bound="ModelSpec")
CONVNET, RESNET = 128, 64  # published widths


@dataclass(frozen=True)
class ModelSpec:
    """What it takes to build a network again: name, input shape `(C, H, W)`, classes, width, norm.

    `width` is channels a layer of a ConvNet, channels of the first stage of a ResNet, the length of the embedding of a
    library's network (which cannot be chosen). None stands for what is published; a spec that was made has no None left.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    width: int | None = None
    norm: str | None = None

    def __post_init__(self) -> None:
        if is_library(self.name):
            return self._library()
        width, norm = _published(self.name)
        width, norm = width if self.width is None else self.width, self.norm or norm
        self._set(width=width, norm=norm)
        if norm not in NORMS:
            raise InputError(f"unknown norm '{norm}': choose one of {', '.join(NORMS)}")
        if width < 1:
            raise InputError(f"the network's width is {width}: it must be at least 1")
        if self.name in RESNETS:
            return check_size(self.name, self.shape[1:], norm)
        if self.name == "convnet":
            self._set(name=f"convnet{default_depth(min(self.shape[1:]))}")
        return check_depth(int(self.name[7:]), self.shape[0], self.shape[1:])

    def _made(self) -> tuple[int, str]:
        """Width and norm."""
        assert self.width is not None, "a spec that was made has a width"
        assert self.norm is not None, "and a norm"
        return self.width, self.norm

    def _library(self) -> None:
        """The network's own width and norm; `InputError` where others were asked for."""
        width, norm = own_width_and_norm(self.name, self.shape, self.classes)
        if self.norm not in (None, norm):
            raise InputError(f"{self.name} has its own norm layers ({norm}): leave out norm '{self.norm}'")
        if self.width not in (None, width):
            raise InputError(f"{self.name} has its own width: leave out width {self.width}")
        self._set(width=width, norm=norm)

    def _set(self, **values: str | int) -> None:
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def with_(self: Spec, **changes: Any) -> Spec:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them; `models.read_spec` reads them."""
        return {name: value for name, value in asdict(self).items() if name in ("name", "shape", "classes", "width", "norm")}

    def verify(self) -> None:
        """`InputError` where this network cannot be built here. Those with a name always can."""

    def fresh(self, generator: torch.Generator) -> nn.Module:
        """A network on the CPU, in training mode, initialised from the generator alone."""
        if is_library(self.name):
            return build_library(self.name, self.shape, self.classes, generator)
        channels, size, (width, norm) = self.shape[0], self.shape[1:], self._made()
        net: nn.Module
        with torch.device("meta"):
            if self.name in RESNETS:
                net = ResNet(self.name, channels, size, self.classes, width=width, norm=norm)
            else:
                net = ConvNet(channels, size, self.classes, width=width, depth=int(self.name[7:]), norm=norm)
        draw = he if self.name in RESNETS else initialise
        return draw(net.to_empty(device="cpu"), generator)

    def bare(self, generator: torch.Generator) -> nn.Module:
        """The network as `score` takes it: a user's own without what `fresh` adds."""
        return self.fresh(generator)

    @property
    def label(self) -> str:
        """The network as people say it."""
        return f"{self.name}, width {self.width}, {self.norm} norm"

    def other(self, name: str | None = None, width: int | None = None, norm: str | None = None) -> ModelSpec:
        """The network `name` (None: this one) for the same images and classes.

        What is not given stays as it is, where both are published alike (ConvNets among themselves, ResNet-10 and 18). Else
        the norm is the one that `name` is published with, and the width has the same share of the published one (ours).
        """
        name = name or self.name
        if is_library(name):
            same = name == self.name
            return ModelSpec(name, self.shape, self.classes, width or (self.width if same else None), norm)
        if not is_library(self.name):
            (mine, own), (published, default) = _published(self.name), _published(name)
            width = width if width is not None else max(1, self._made()[0] * published // mine)
            alike = (mine, own) == (published, default)
            norm = norm or (self.norm if alike else default)
        return ModelSpec(name, self.shape, self.classes, width, norm)


def width_beside(name: str, convnet: int) -> int | None:
    """The width of the network `name` that has the share of its published width that `convnet` has of 128 (ours).

    None for a library's network.
    """
    return None if is_library(name) else max(1, convnet * _published(name)[0] // CONVNET)


def _published(name: str) -> tuple[int, str]:
    """Width and norm that one of our networks is published with; `InputError` for an unknown name."""
    if name in RESNETS:
        return RESNET, RESNETS[name].norm
    if re.fullmatch(r"convnet\d*", name):
        return CONVNET, "instance"
    raise InputError(f"unknown model '{name}': {did_you_mean(name, list(MODELS))}")


def build(spec: ModelSpec, generator: torch.Generator, device: str | torch.device = "cpu") -> nn.Module:
    """A freshly initialised network, in training mode. Same generator state, same weights on every device.

    `features(x)` is its embedding `(B, F)`, which `classifier`, or a user's own last linear layer, makes logits of.
    """
    return spec.fresh(generator).to(device)
