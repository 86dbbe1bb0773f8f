"""A module called with other tensors in the place of its parameters and buffers, and derivatives in forward mode."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


def jvp(function: Callable[..., Any], at: tuple[Any, ...], along: tuple[Any, ...]) -> Any:
    """`torch.func.jvp`: the value and the derivative of `function` at `at` along `along`."""
    _load_forward_mode()
    return torch.func.jvp(function, at, along)


@lru_cache
def _load_forward_mode() -> None:
    """PyTorch loads a part of itself at the first derivative in forward mode, and warns its users of what it does there."""
    with warnings.catch_warnings(), contextlib.suppress(ImportError):
        warnings.simplefilter("ignore", FutureWarning)
        import_module("torch._decomp.decompositions_for_jvp")


def call_at(module: nn.Module, values: dict[str, Tensor], *args: object) -> Any:
    """`module(*args)` with `values` (name -> tensor) in the place of its parameters and buffers, tied ones everywhere.

    `functional_call` would do it by itself, but for a module that has two names it leaves the values behind.
    """
    kept: dict[int, str] = {}
    everywhere = {}
    for label, part in module.named_modules():  # each module once, by its first name
        for own in (part._parameters, part._buffers):
            for key, t in own.items():
                if t is not None:
                    name = f"{label}.{key}" if label else key
                    first = kept.setdefault(id(t), name)
                    if first in values:
                        everywhere[name] = values[first]
    return functional_call(module, everywhere, args, tie_weights=False)
