"""A digest of what JSON cannot hold: functions, classes and objects of the user's, by their names, code and values.

A function's digest covers its code, its defaults, what it encloses, and what it reads of its own module: functions and classes
with their code; numbers, text, containers, tensors, arrays, objects and the weights of modules with their values. Functions and
classes of Refluence or of other modules count by name, objects of installed packages by what `repr` says. Line numbers and
places in memory have no part in it, nor has state that Python cannot see, as that of a random generator.
"""

from __future__ import annotations

import dis
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

OURS = __name__.split(".")[0]
PLAIN = (type(None), bool, int, float, complex, str, bytes, range)
HOLDING = (tuple, list, set, frozenset, dict, Tensor, np.ndarray)
CODE = (FunctionType, BuiltinFunctionType, type, ModuleType)
READING = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")  # instructions that look a name up in the module
INSTALLED = ("site-packages", "dist-packages")  # folders of modules that are not the user's own


def digest(value: object) -> str:
    """SHA-256 of what a value is, in hexadecimal: equal in every process of one version of Python.

    Example:
        >>> digest(lambda x: x + 1) == digest(lambda x: x + 1), digest(lambda x: x + 1) == digest(lambda x: x + 2)
        (True, False)
    """
    return hashlib.sha256(", ".join(_parts(value, {id(value)})).encode()).hexdigest()


def _text(value: object, seen: set[int]) -> str:
    """A value in words; what is met again is named alone."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, HOLDING[:5]):
        if id(value) in seen:
            return f"{type(value).__name__}(...)"
        seen = seen | {id(value)}
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__}({', '.join(_text(each, seen) for each in value)})"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}({', '.join(sorted(_text(each, seen) for each in value))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{_text(k, seen)}: {_text(v, seen)}' for k, v in value.items())})"
    if isinstance(value, CodeType):
        return f"code({value.co_code.hex()}, {value.co_names}, {_text(value.co_consts, seen)})"
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, np.ndarray):
        held = _text(value.tolist(), seen).encode() if value.dtype.hasobject else np.ascontiguousarray(value).tobytes()
        return f"{value.dtype.str}{value.shape} {hashlib.sha256(held).hexdigest()}"
    if isinstance(value, Tensor):
        raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8) if value.numel() else value
        return f"{value.dtype}{tuple(value.shape)} {hashlib.sha256(raw.numpy().tobytes()).hexdigest()}"
    if isinstance(value, (FunctionType, type)) and value.__module__.split(".")[0] == OURS:
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, type) and not _is_users(value):
        return f"{value.__module__}.{value.__qualname__}"
    if id(value) in seen:
        return getattr(value, "__qualname__", type(value).__qualname__)
    return ", ".join(_parts(value, seen | {id(value)}))


def _parts(value: object, seen: set[int]) -> Iterator[str]:
    if isinstance(value, partial):
        yield from (_text(part, seen) for part in (value.func, value.args, value.keywords))
    elif isinstance(value, MethodType):
        yield from (_text(part, seen) for part in (value.__func__, value.__self__))
    elif isinstance(value, FunctionType):
        yield value.__qualname__
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        read = {name: value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__}
        for part in (value.__code__, value.__defaults__, value.__kwdefaults__, cells):
            yield _text(part, seen)
        for name in sorted(read):
            if not isinstance(read[name], CODE) or getattr(read[name], "__module__", None) == value.__module__:
                yield f"{name}: {_text(read[name], seen)}"
    elif isinstance(value, type):
        yield value.__qualname__
        yield from (_text(base, seen) for base in value.__bases__ if base.__module__ == value.__module__)
        for name, member in sorted(vars(value).items()):
            inner = getattr(member, "__func__", getattr(member, "fget", member))
            held = isinstance(inner, HOLDING) and not name.startswith("__")
            if held or (isinstance(inner, (*PLAIN, FunctionType)) and name not in ("__module__", "__firstlineno__")):
                yield f"{name}: {_text(inner, seen)}"
    elif is_dataclass(value):
        yield type(value).__qualname__
        yield from (f"{f.name}={_text(getattr(value, f.name), seen)}" for f in fields(value))
    elif isinstance(value, nn.Module):
        yield _text(type(value), seen)
        yield _text(dict(value.state_dict()), seen)
    elif isinstance(value, BuiltinFunctionType):
        yield value.__qualname__
    elif isinstance(value, SimpleNamespace):
        yield _text(vars(value), seen)
    elif hasattr(value, "__wrapped__"):  # such as what lru_cache gives
        yield _text(value.__wrapped__, seen)
    elif _is_users(type(value)) or " at 0x" in repr(value):
        slots = {name: getattr(value, name) for kind in type(value).__mro__ for name in _slots(kind) if hasattr(value, name)}
        yield _text(type(value), seen)
        yield _text({**getattr(value, "__dict__", {}), **slots}, seen)
    else:
        yield repr(value)


def _is_users(kind: type) -> bool:
    """Whether a class is neither Python's own nor of a package that was installed."""
    place = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return kind.__module__.split(".")[0] not in sys.stdlib_module_names - {"__main__"} and not any(
        folder in place for folder in INSTALLED
    )


def _slots(kind: type) -> tuple[str, ...]:
    named = kind.__dict__.get("__slots__", ())
    return (named,) if isinstance(named, str) else tuple(named)


def _names(code: CodeType) -> set[str]:
    """The names of a module that some code reads, functions inside it included."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, CodeType)]
    read = {each.argval for each in dis.get_instructions(code) if each.opname in READING}
    return read.union(*inner)


def _filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
