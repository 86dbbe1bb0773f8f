"""Layers with few parameters and a forward of their own, read through the derivative of that forward:

    <v, g_j> = < delta_j, J_j v >,    J_j = d layer(a_j; w) / dw

The Hub has an RMSNorm a model family: x rsqrt(mean x^2 + eps) times w, or times 1 + w, or after a cast. What such a class
computes is never assumed: J_j v is the forward-mode derivative of one call, exact for any module of one input whose own
parameters are a `weight` (and a `bias`) of one dimension. It costs two elementwise passes, so larger weights are left to the
other engines.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from refluence.functional import call_at, jvp
from refluence.influence.parameters import Parameters

_CALLS = ("__call__", "_call_impl", "_wrapped_call_impl")


def is_small(module: nn.Module) -> bool:
    """Whether a module has no children and only a weight, and perhaps a bias, of one dimension."""
    own = {kind: p for kind, p in module._parameters.items() if p is not None}
    plain = all(name not in vars(module) and getattr(type(module), name) is getattr(nn.Module, name) for name in _CALLS)
    flat = own.keys() <= {"weight", "bias"} and all(p.dim() == 1 for p in own.values())
    return plain and flat and next(module.children(), None) is None


def tangent(module: nn.Module, a: Tensor, v: Parameters) -> Tensor:
    """J v of the shape of the output, for inputs a `(n, ...)` and v by "weight" and "bias"."""
    return jvp(lambda p: _forward(module, a, p), (_own(module, v, a.dtype),), (v,))[1]


def rows(module: nn.Module, a: Tensor, delta: Tensor, kinds: Iterable[str]) -> Parameters:
    """delta_j^T J_j `(n, P)` by "weight" and "bias"."""
    at = _own(module, kinds, delta.dtype)

    def one(a: Tensor, delta: Tensor) -> Parameters:
        return vjp(lambda p: _forward(module, a[None], p), at)[1](delta[None])[0]

    return vmap(one)(a, delta)


def _own(module: nn.Module, kinds: Iterable[str], dtype: torch.dtype) -> Parameters:
    wanted = set(kinds)
    return {kind: p.detach().to(dtype) for kind, p in module._parameters.items() if p is not None and kind in wanted}


class _Bare(nn.Module):
    """A module without its hooks."""

    def __init__(self, own: nn.Module):
        super().__init__()
        self.own = own

    def forward(self, a: Tensor) -> Tensor:
        return self.own.forward(a)


def _forward(module: nn.Module, a: Tensor, p: Parameters) -> Tensor:
    return call_at(_Bare(module), {f"own.{kind}": t for kind, t in p.items()}, a)
