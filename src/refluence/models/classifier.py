"""The classifier that `score` speaks of: one of ours by name, or a user's own, as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from refluence.models.choose import network
from refluence.models.custom import Maker, OwnSpec, Shape


@dataclass(frozen=True)
class Classifier:
    """How to make a fresh network: `make(generator)` initialises it from the generator alone. `about` decides its identity."""

    name: str
    make: Callable[[torch.Generator], nn.Module]
    about: dict[str, Any]


def classifier(
    model: str | Maker | None, width: int | None, norm: str | None, shape: Shape, classes: int, trains: bool = True
) -> Classifier:
    """The network `model` (None: convnet) for images `shape` (C, H, W). `trains`: it is to be trained here.

    Errors: `InputError`, as `network`; what training alone would need is not asked of a network that is loaded.
    """
    spec = network(model or "convnet", shape, classes, width, norm, trains=trains)
    if isinstance(spec, OwnSpec):
        file, colon, function = spec.name.rpartition(":")
        name = f"{Path(file).name}:{function}" if colon else spec.name
        about = {"name": spec.name, "shape": list(shape), "classes": classes, "sha256": spec.sha256}
        return Classifier(name, spec.bare, about)
    return Classifier(f"{spec.name}, width {spec.width}, {spec.norm} norm", spec.fresh, spec.to_json())
