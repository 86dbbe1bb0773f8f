"""Vectors in the space of parameters, kept as name -> tensor: choosing them, and the few operations that solvers need.

Dot products accumulate in float64 (float32 on devices without it, such as MPS): a solve is a chain of their quotients.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from refluence.errors import InputError

Parameters = dict[str, Tensor]


def parameters_of(model: nn.Module, names: Iterable[str] | None = None) -> Parameters:
    """The model's parameters in `names` (default: all), detached, in the model's order; tied weights appear once."""
    every = {name: p.detach() for name, p in model.named_parameters()}
    wanted = set(every) if names is None else set(names)
    if not every or not wanted:
        raise InputError("no parameter to differentiate by: " + ("names is empty" if every else "the model has none"))
    for name in wanted - every.keys():
        raise InputError(f"the model has no parameter '{name}': it has {', '.join(every)}")
    return {name: p for name, p in every.items() if name in wanted}


def check_direction(v: Parameters, parameters: Parameters) -> None:
    """Raise `InputError` unless v names parameters, at least one, and has their shapes."""
    if not v:
        raise InputError(f"the direction v is empty: name at least one of {', '.join(parameters)}")
    for name, tensor in v.items():
        if name not in parameters:
            raise InputError(f"the direction v has '{name}', which is not among {', '.join(parameters)}")
        if tensor.shape != parameters[name].shape:
            want = tuple(parameters[name].shape)
            raise InputError(f"v['{name}'] must have the shape {want}, got {tuple(tensor.shape)}")


def dot(a: Parameters, b: Parameters) -> float:
    """<a, b> over the names of a."""
    wide = [_wide(t) for t in a.values()]
    parts = [(t.to(w) * b[k].to(w)).sum() for (k, t), w in zip(a.items(), wide, strict=True)]
    return float(torch.stack([part.to(parts[0].device) for part in parts]).sum())


def add(a: Parameters, b: Parameters, scale: float = 1.0) -> Parameters:
    """a + scale b."""
    return {k: torch.add(t, b[k], alpha=scale) for k, t in a.items()}


def scaled(a: Parameters, scale: float) -> Parameters:
    """scale a."""
    return {k: t * scale for k, t in a.items()}


def zeros(a: Parameters) -> Parameters:
    """Zeros of the shapes of a."""
    return {k: torch.zeros_like(t) for k, t in a.items()}


def _wide(t: Tensor) -> torch.dtype:
    return torch.float32 if t.device.type == "mps" else torch.float64
