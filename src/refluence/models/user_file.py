"""`FILE.py:FUNCTION`: the user's file read as a module, its digest, and whether an exception came from it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from torch import nn

from refluence.models.library import is_library, reason
from refluence.models.trial import unusable
from refluence.randomness import seeded

Shape = tuple[int, int, int]
Maker = Callable[[Shape, int], nn.Module]
PACKAGE = Path(__file__).resolve().parents[1]
PREFIX = "refluence_model_"  # of the modules that are users' files
FUNCTION = "a function (shape, classes) -> nn.Module"
FORM = f"FILE.py:FUNCTION, {FUNCTION}"


def is_own(text: str) -> bool:
    """Whether a model named so is a file of the user's."""
    return (":" in text or text.endswith(".py")) and not is_library(text)


def place(text: str) -> tuple[Path, str]:
    """`FILE.py:FUNCTION` as a file that is there, and a name."""
    file, _, function = text.rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise unusable(text, f"expected {FORM}")
    path = Path(file).expanduser()
    if not path.is_file():
        raise unusable(text, f"there is no file {path}")
    return path, function


@lru_cache
def function(path: Path, name: str, text: str, sha256: str) -> Maker:
    """The function in a file with that digest."""
    found = getattr(_module(path, text), name, None)
    if not callable(found):
        raise unusable(text, f"{path} has no function '{name}'; expected {FORM}")
    return found


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
