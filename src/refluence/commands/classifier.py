"""The classifier that `score` speaks of: one of ours by name, or anything that a function in a file of the user makes."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from refluence.errors import InputError
from refluence.models import ModelSpec, build, is_library, width_beside
from refluence.models.library import SEEDS, reason
from refluence.models.repeatable import refuse_random_eval, refuse_unseeded
from refluence.randomness import seeded

TRIED = 2  # images that a network is tried on
FORM = "FILE.py:FUNCTION, a function (shape, classes) -> nn.Module"


@dataclass(frozen=True)
class Classifier:
    """How to make a fresh network: `make(generator)` initialises it from the generator alone. `about` decides its identity."""

    name: str
    make: Callable[[torch.Generator], nn.Module]
    about: dict[str, Any]


def classifier(
    model: str | None, width: int | None, norm: str | None, shape: tuple[int, int, int], classes: int, trains: bool = True
) -> Classifier:
    """The network of `--model --width --norm` for images `shape` (C, H, W). `trains`: it is to be trained here.

    Errors: `InputError` for an unknown name, a file or function that is not there or fails, and a network whose logits for
    a few images are not `(n, classes)`, or that no run could repeat (models/repeatable.py).
    """
    if model is not None and (":" in model or model.endswith(".py")) and not is_library(model):
        for flag, value in (("--width", width), ("--norm", norm)):
            if value is not None:
                raise InputError(f"{flag} {value} is for a convnet or a resnet: {model} decides that itself")
        return _from_file(model, shape, classes, trains)
    model = model or "convnet"
    spec = ModelSpec(model, shape, classes, width=width_beside(model, 32) if width is None else width, norm=norm)
    name = f"{spec.name}, width {spec.width}, {spec.norm} norm"
    return Classifier(name, lambda generator: build(spec, generator), asdict(spec))


def _from_file(text: str, shape: tuple[int, int, int], classes: int, trains: bool) -> Classifier:
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
        """The user's function draws from global generators: they are seeded for the call, then put back."""
        seed = int(torch.randint(SEEDS, (), generator=generator))
        with seeded(seed):
            try:
                net = found(shape, classes)
            except Exception as error:
                raise InputError(f"--model {text}: {function}({shape}, {classes}) failed ({reason(error)})") from error
            if not isinstance(net, nn.Module):
                raise InputError(f"--model {text}: {function} returned a {type(net).__name__}; expected an nn.Module")
            if any(is_lazy(t) for t in (*net.parameters(), *net.buffers())):  # they draw their weights in the first pass
                net.eval()
                with _tried(text, " x ".join(map(str, shape))):
                    net(torch.zeros(TRIED, *shape))
        return net

    _check(lambda: make(torch.Generator().manual_seed(0)), text, shape, classes, trains)
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
        with seeded(0):  # what it draws while it is read
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"--model {text}: {path} cannot be imported ({reason(error)})") from error
    return module


def _check(make: Callable[[], nn.Module], text: str, shape: tuple[int, int, int], classes: int, trains: bool) -> None:
    """Try the network on a few images, in training mode too where it is to be trained."""
    net = make()
    if not any(p.requires_grad for p in net.parameters()):
        raise InputError(f"--model {text}: the network has no parameter to train")
    x, sizes = torch.randn(TRIED, *shape, generator=torch.Generator().manual_seed(0)), " x ".join(map(str, shape))
    for mode in (False, True) if trains else (False,):
        net.train(mode)
        with seeded(0), _tried(text, sizes):
            logits = net(x)
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
        if got != (TRIED, classes):
            when = f"{TRIED} images of {sizes}{' while it trains' if mode else ''}"
            raise InputError(f"--model {text}: the network gives {got} for {when}; expected logits {(TRIED, classes)}")
    with _tried(text, sizes):
        refuse_random_eval(net, x, f"--model {text}: the network")
        if trains:
            refuse_unseeded(make, x, f"--model {text}: the network")


@contextmanager
def _tried(text: str, sizes: str) -> Iterator[None]:
    """Passes of a user's network: `InputError` where it fails."""
    try:
        with torch.no_grad():
            yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--model {text}: the network fails on {TRIED} images of {sizes} ({reason(error)})") from error


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
