"""The classifier that `score` speaks of: one of ours by name, or anything that a function in a file of the user makes."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from refluence.errors import InputError
from refluence.models import ModelSpec, build, is_library, width_beside
from refluence.models.library import SEEDS, reason

FORM = "FILE.py:FUNCTION, a function (shape, classes) -> nn.Module"


@dataclass(frozen=True)
class Classifier:
    """How to make a fresh network: `make(generator)` initialises it from the generator alone. `about` decides its identity."""

    name: str
    make: Callable[[torch.Generator], nn.Module]
    about: dict[str, Any]


def classifier(model: str | None, width: int | None, norm: str | None, shape: tuple[int, int, int], classes: int) -> Classifier:
    """The network of `--model --width --norm` for images `shape` (C, H, W).

    Errors: `InputError` for an unknown name, a file or function that is not there or fails, and a network whose logits for
    two images are not `(2, classes)`.
    """
    if model is not None and (":" in model or model.endswith(".py")) and not is_library(model):
        for flag, value in (("--width", width), ("--norm", norm)):
            if value is not None:
                raise InputError(f"{flag} {value} is for a convnet or a resnet: {model} decides that itself")
        return _from_file(model, shape, classes)
    model = model or "convnet"
    spec = ModelSpec(model, shape, classes, width=width_beside(model, 32) if width is None else width, norm=norm)
    name = f"{spec.name}, width {spec.width}, {spec.norm} norm"
    return Classifier(name, lambda generator: build(spec, generator), asdict(spec))


def _from_file(text: str, shape: tuple[int, int, int], classes: int) -> Classifier:
    file, _, function = text.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise InputError(f"--model {text}: expected {FORM}")
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"--model {text}: there is no file {path}")
    found = getattr(_module(path, text), function, None)
    if not callable(found):
        raise InputError(f"--model {text}: {path} has no function '{function}'; expected {FORM}")

    def make(generator: torch.Generator) -> nn.Module:
        """The user's function draws from the global generator: it is seeded for the call, then put back."""
        seed = int(torch.randint(SEEDS, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                net = found(shape, classes)
            except Exception as error:
                raise InputError(f"--model {text}: {function}({shape}, {classes}) failed ({reason(error)})") from error
        if not isinstance(net, nn.Module):
            raise InputError(f"--model {text}: {function} returned a {type(net).__name__}; expected an nn.Module")
        return net

    _check_logits(make(torch.Generator().manual_seed(0)), text, shape, classes)
    about = {"name": text, "shape": list(shape), "classes": classes, "sha256": digest(path)}
    return Classifier(f"{path.name}:{function}", make, about)


def _module(path: Path, text: str) -> ModuleType:
    """The user's file as a module; what lies beside it can be imported from it."""
    name = f"refluence_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a file that ends in .py has a loader"
    assert spec.loader is not None, "a file that ends in .py has a loader"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"--model {text}: {path} cannot be imported ({reason(error)})") from error
    return module


def _check_logits(net: nn.Module, text: str, shape: tuple[int, int, int], classes: int) -> None:
    if not any(p.requires_grad for p in net.parameters()):
        raise InputError(f"--model {text}: the network has no parameter to train")
    sizes = " x ".join(map(str, shape))
    try:
        with torch.no_grad():
            logits = net.eval()(torch.zeros(2, *shape))
    except Exception as error:
        raise InputError(f"--model {text}: the network fails on 2 images of {sizes} ({reason(error)})") from error
    got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
    if got != (2, classes):
        raise InputError(f"--model {text}: the network gives {got} for 2 images of {sizes}; expected logits (2, {classes})")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
