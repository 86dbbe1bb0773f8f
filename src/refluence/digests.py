"""A digest of what JSON cannot hold: functions, classes and objects of the user's, by their names, code and values.

A function's digest covers its code, its defaults, what it encloses, and what it reads of its own module: functions and classes
with their code; numbers, text, tensors and the weights of modules with their values. What it takes from Refluence or from other
modules counts by name. Line numbers and places in memory have no part in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType

import torch
from torch import Tensor, nn

OURS = __name__.split(".")[0]
PLAIN = (type(None), bool, int, float, complex, str, bytes, range)


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
    if isinstance(value, Tensor):
        raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8) if value.numel() else value
        return f"{value.dtype}{tuple(value.shape)} {hashlib.sha256(raw.numpy().tobytes()).hexdigest()}"
    if isinstance(value, (FunctionType, type)) and value.__module__.split(".")[0] == OURS:
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
            if isinstance(read[name], PLAIN) or getattr(read[name], "__module__", None) == value.__module__:
                yield f"{name}: {_text(read[name], seen)}"
    elif isinstance(value, type):
        yield value.__qualname__
        yield from (_text(base, seen) for base in value.__bases__ if base.__module__ == value.__module__)
        for name, member in sorted(vars(value).items()):
            inner = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(inner, (*PLAIN, FunctionType)) and name not in ("__module__", "__firstlineno__"):
                yield f"{name}: {_text(inner, seen)}"
    elif is_dataclass(value):
        yield type(value).__qualname__
        yield from (f"{f.name}={_text(getattr(value, f.name), seen)}" for f in fields(value))
    elif isinstance(value, nn.Module):
        yield _text(type(value), seen)
        yield _text(dict(value.state_dict()), seen)
    elif isinstance(value, BuiltinFunctionType) or not callable(value):
        yield getattr(value, "__qualname__", type(value).__qualname__)
    else:  # an object that is called
        yield _text(type(value), seen)
        yield _text({k: v for k, v in getattr(value, "__dict__", {}).items() if isinstance(v, (*PLAIN, tuple, list))}, seen)


def _names(code: CodeType) -> set[str]:
    """The names that some code reads, functions inside it included."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, CodeType)]
    return set(code.co_names).union(*inner)


def _filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
