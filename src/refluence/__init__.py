"""Refluence: find which training instances matter, and make training small with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from inspect import Signature, getdoc, signature
from types import ModuleType
from typing import TYPE_CHECKING, Any

from refluence.version import __version__ as __version__

if TYPE_CHECKING:  # what a type checker and an editor see; at run time the names of `_NAMES` are loaded when asked for
    from refluence.api import compare as compare
    from refluence.api import distill as distill
    from refluence.api import evaluate as evaluate
    from refluence.api import finetune_denoiser as finetune_denoiser
    from refluence.api import generate as generate
    from refluence.api import load as load
    from refluence.api import open as open
    from refluence.api import quality as quality
    from refluence.api import score as score
    from refluence.api import select as select
    from refluence.api import start as start
    from refluence.api import train_denoiser as train_denoiser
    from refluence.api import transfer as transfer
    from refluence.condense.method import Method as Method
    from refluence.data import Dataset as Dataset
    from refluence.data import DistilledSet as DistilledSet
    from refluence.data import ScoreTable as ScoreTable
    from refluence.errors import InputError as InputError
    from refluence.errors import RunError as RunError
    from refluence.evaluate.protocols import protocols as protocols
    from refluence.generate.denoiser import Denoiser as Denoiser
    from refluence.generate.method import Generator as Generator
    from refluence.influence import Weigher as Weigher
    from refluence.influence import Weighting as Weighting
    from refluence.influence import capture as capture
    from refluence.influence import scores as scores
    from refluence.influence import self_influence as self_influence
    from refluence.influence import tracin as tracin
    from refluence.influence import validation_influence as validation_influence
    from refluence.influence import weights as weights
    from refluence.jobs.catalogue import methods as methods
    from refluence.results import Comparison as Comparison
    from refluence.results import Run as Run
    from refluence.results import StudentRun as StudentRun
    from refluence.select.selection import Selection as Selection
    from refluence.transfer.mechanism import Mechanism as Mechanism

_NAMES = {
    # data, sets and verdicts
    **dict.fromkeys(("load", "distill", "start", "compare", "quality", "open"), "refluence.api"),
    **dict.fromkeys(("train_denoiser", "finetune_denoiser"), "refluence.api"),
    "Denoiser": "refluence.generate.denoiser",
    **dict.fromkeys(("Dataset", "DistilledSet", "ScoreTable"), "refluence.data"),
    **dict.fromkeys(("Run", "StudentRun", "Comparison"), "refluence.results"),
    # methods
    "Method": "refluence.condense.method",
    "Selection": "refluence.select.selection",
    "Mechanism": "refluence.transfer.mechanism",
    "Generator": "refluence.generate.method",
    "methods": "refluence.jobs.catalogue",
    "protocols": "refluence.evaluate.protocols",
    # influence
    **dict.fromkeys(
        ("capture", "scores", "weights", "Weighting", "Weigher", "validation_influence", "self_influence", "tracin"),
        "refluence.influence",
    ),
    # what can go wrong
    **dict.fromkeys(("InputError", "RunError"), "refluence.errors"),
}
_PACKAGES = (
    "select",
    "evaluate",
    "score",
    "transfer",
    "generate",
)  # folders of the library whose name is a function of api too
__all__ = ["__version__", *(name for name in _NAMES if name != "open"), *_PACKAGES]  # `import *` leaves Python's open


class _Package(ModuleType):
    """A folder that can be called: `rf.evaluate(…)` is `refluence.api.evaluate`, `rf.evaluate.paired` a module of it."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._function(*given, **named)

    @property
    def _function(self) -> Callable[..., Any]:
        return getattr(import_module("refluence.api"), self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> Signature:
        return signature(self._function)

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        name, function = self.__name__.rpartition(".")[2], self._function
        return f"{name}{signature(function)}\n\n{getdoc(function)}"


class _Library(ModuleType):
    """The import system hands over each folder when it is loaded: those of `_PACKAGES` become callable."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PACKAGES and isinstance(value, ModuleType):
            value.__class__ = _Package
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    """Names are loaded when they are asked for (PEP 562): `import refluence` alone loads no PyTorch."""
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in (*_PACKAGES, "api"):
        return import_module(f"refluence.{name}")
    raise AttributeError(f"module 'refluence' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "api", "open"])


sys.modules[__name__].__class__ = _Library
