"""A module called with other tensors in the place of its parameters and buffers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


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
