"""The classifier that `score` speaks of: one of ours by name, or anything that a function in a file of the user makes."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from refluence.errors import InputError
from refluence.models.build import ModelSpec, build, width_beside
from refluence.models.library import SEEDS, is_library, reason
from refluence.models.plain import plain
from refluence.models.trial import TRIED, check, tried, unusable
from refluence.randomness import seeded

PACKAGE = Path(__file__).resolve().parents[1]
PREFIX = "refluence_model_"  # of the modules that are users' files
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
        for option, value in (("width", width), ("norm", norm)):
            if value is not None:
                raise InputError(f"{value} is for a convnet or a resnet: {model} decides that itself", option=option)
        return _from_file(model, shape, classes, trains)
    model = model or "convnet"
    spec = ModelSpec(model, shape, classes, width=width_beside(model, 32) if width is None else width, norm=norm)
    name = f"{spec.name}, width {spec.width}, {spec.norm} norm"
    return Classifier(name, lambda generator: build(spec, generator), asdict(spec))


def _from_file(text: str, shape: tuple[int, int, int], classes: int, trains: bool) -> Classifier:
    file, _, function = text.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise unusable(text, f"expected {FORM}")
    path = Path(file).expanduser()
    if not path.is_file():
        raise unusable(text, f"there is no file {path}")
    found = getattr(_module(path, text), function, None)
    if not callable(found):
        raise unusable(text, f"{path} has no function '{function}'; expected {FORM}")

    told: dict[str, None] = {}

    def make(generator: torch.Generator) -> nn.Module:
        """The user's function draws from global generators: they are seeded for the call, then put back."""
        seed = int(torch.randint(SEEDS, (), generator=generator))
        with seeded(seed):
            try:
                net = found(shape, classes)
            except (Exception, SystemExit) as error:
                raise unusable(text, f"{function}({shape}, {classes}) failed ({reason(error)})") from error
            if not isinstance(net, nn.Module):
                raise unusable(text, f"{function} returned a {type(net).__name__}; expected an nn.Module")
            net, words = plain(net)
            told.update(dict.fromkeys(words))
            if any(is_lazy(t) for t in (*net.parameters(), *net.buffers())):  # they draw their weights in the first pass
                with tried(text, shape, TRIED):
                    net.eval()(torch.zeros(TRIED, *shape))
        return net

    check(lambda: make(torch.Generator().manual_seed(0)), text, shape, classes, trains)
    for words in told:
        warnings.warn(f"{text}: {words}", stacklevel=2)
    about = {"name": text, "shape": list(shape), "classes": classes, "sha256": digest(path)}
    return Classifier(f"{path.name}:{function}", make, about)


def _module(path: Path, text: str) -> ModuleType:
    """The user's file as a module; what lies beside it can be imported from it."""
    name = f"{PREFIX}{path.stem}"
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
        raise unusable(text, f"{path} cannot be imported ({reason(error)})") from error
    return module


def blamed(error: BaseException) -> str | None:
    """The place in a file of the user's that an exception came from, None where the last to act was Refluence.

    Libraries in between are passed over: who called them wrongly decides.
    """
    own = [Path(file).resolve() for name, m in list(sys.modules.items()) if name.startswith(PREFIX) and (file := m.__file__)]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path.is_relative_to(PACKAGE):
            return None
        if any(path.is_relative_to(file.parent) for file in own) and "site-packages" not in path.parts:
            return f"{frame.filename}, line {frame.lineno}, in {frame.name}: {reason(error)}"
    return None


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
