"""Networks by name (`convnet3`, `resnet10`, `torchvision:vgg11`, …), initialised from a generator: never from the global
random state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn

from refluence.errors import InputError
from refluence.files import Json
from refluence.models.families import CONVNET, full_name, known
from refluence.models.library import build_library, is_library, own_width_and_norm
from refluence.options import NORMS
from refluence.text import TextShape

Spec = TypeVar("Spec", bound="ModelSpec")


@dataclass(frozen=True)
class ModelSpec:
    """What it takes to build a network again: name, input shape `(C, H, W)`, classes, width, norm.

    `width` is channels a layer of a ConvNet, channels of the first stage of the others (of MobileNetV2's stem), the length of
    the embedding of a library's network (which cannot be chosen). None stands for what is published; a spec that was made has
    no None left.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    width: int | None = None
    norm: str | None = None

    def __post_init__(self) -> None:
        if is_library(self.name):
            return self._library()
        published = known(self.name)
        width, norm = published.width if self.width is None else self.width, self.norm or published.norm
        self._set(name=full_name(self.name, self.shape), width=width, norm=norm)
        if norm not in NORMS:
            raise InputError(f"unknown norm '{norm}': choose one of {', '.join(NORMS)}")
        if width < 1:
            raise InputError(f"the network's width is {width}: it must be at least 1")
        return published.check(self.name, self.shape, width, norm)

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
        shape = self.shape._asdict() if isinstance(self.shape, TextShape) else self.shape
        return {"name": self.name, "shape": shape, "classes": self.classes, "width": self.width, "norm": self.norm}

    def verify(self) -> None:
        """`InputError` where this network cannot be built here. Those with a name always can."""

    def fresh(self, generator: torch.Generator) -> nn.Module:
        """A network on the CPU, in training mode, initialised from the generator alone."""
        if is_library(self.name):
            return build_library(self.name, self.shape, self.classes, generator)
        kind, (width, norm) = known(self.name), self._made()
        with torch.device("meta"):
            net = kind.make(self.name, self.shape, self.classes, width, norm)
        return kind.draw(net.to_empty(device="cpu"), generator)

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
        the norm is the one that `name` is published with, and the width has the same share of the published one (ours); a
        network whose name says how large it is has the published width.
        """
        name = name or self.name
        if is_library(name):
            same = name == self.name
            return ModelSpec(name, self.shape, self.classes, width or (self.width if same else None), norm)
        if not is_library(self.name):
            mine, other = known(self.name), known(name)
            alike = name == self.name or (mine.width, mine.norm, mine.named) == (other.width, other.norm, other.named)
            scales = name == self.name or not (mine.named or other.named)
            if width is None and scales:
                width = max(1, self._made()[0] * other.width // mine.width)
            norm = norm or (self.norm if alike else other.norm)
        return ModelSpec(name, self.shape, self.classes, width, norm)


def width_beside(name: str, convnet: int) -> int | None:
    """The width of the network `name` that has the share of its published width that `convnet` has of 128 (ours).

    None for a library's network, and for one whose name says how large it is: those have their own.
    """
    if is_library(name) or (found := known(name)).named:
        return None
    return max(1, convnet * found.width // CONVNET)


def build(spec: ModelSpec, generator: torch.Generator, device: str | torch.device = "cpu") -> nn.Module:
    """A freshly initialised network, in training mode. Same generator state, same weights on every device.

    `features(x)` is its embedding `(B, F)`, which `classifier`, or a user's own last linear layer, makes logits of.
    """
    return spec.fresh(generator).to(device)
