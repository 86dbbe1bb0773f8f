"""A pass over one chunk as one graph of tensor operations, its elementwise work fused by `torch.compile`.

The pass is traced once, through autograd and hooks, at one shape. Scores are bound by memory traffic once convolutions are
fast, so three operations whose compiled forms are slow on a CPU are rewritten into sums and broadcasts that vectorise over
channels, and images are laid out with channels last:

    average pooling backward (no overlap)   dx = expand(dy) / k
    group norm                              mean and variance in two passes, x read from cache the second time
    group norm backward                     dx = (g - mean(g) - xhat mean(g xhat)) rstd,  g = gamma dy

(PyTorch: `torch.nn.GroupNorm`; the derivative is that of layer normalisation, Ba et al. 2016, arXiv 1607.06450.) A short
chunk is padded with its first sample, so that there is one shape, and one compilation, however many samples there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_map

from refluence.errors import RunError
from refluence.influence.parameters import Parameters
from refluence.models.pooling import plain_pooling

aten = torch.ops.aten
R = TypeVar("R")
Tree: TypeAlias = "Tensor | Sequence[Tree] | Mapping[str, Tree]"


class Graph(Generic[R]):
    """`function(*inputs)`, trees of tensors to trees of tensors, compiled at the shapes of its first call."""

    def __init__(self, function: Callable[..., R]):
        self.function = function
        self.compiled: Callable[..., R] | None = None

    @torch.no_grad()
    def __call__(self, *inputs: Tree) -> R:
        """The value at other inputs of the same shapes and types."""
        inputs = tree_map(channels_last, inputs)
        if self.compiled is None:
            with plain_pooling():
                traced = make_fx(self.function, decomposition_table=REWRITES)(*inputs)
            compiled = torch.compile(traced, dynamic=False)
            try:
                compiled(*inputs)
            except RuntimeError as e:
                why = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)
                raise RunError(f"the pass could not be compiled ({why}): go without compile") from e
            self.compiled = compiled
        return self.compiled(*inputs)


class Fused(Generic[R]):
    """`function(state, v, x, y)`, a tree of tensors `(chunk, ...)`, as one graph; later calls only change values.

    `state` and `v` are name -> tensor. x and y may hold fewer samples than `chunk`.
    """

    def __init__(self, function: Callable[..., R], chunk: int):
        self.graph, self.chunk = Graph(function), chunk
        self.room: tuple[Tree, Tree] | None = None

    @property
    def function(self) -> Callable[..., R]:
        """What was compiled, as it is without that."""
        return self.graph.function

    @torch.no_grad()
    def __call__(self, state: Parameters, v: Parameters, x: Tensor, y: Tree) -> R:
        """The values `(n, ...)` of the n <= chunk samples of x and y."""
        if self.room is None:
            self.room = tree_map(self._room, (x, y))
        tree_map(self._fill, self.room, (x, y))
        return tree_map(lambda t: t[: len(x)].clone(), self.graph(state, v, *self.room))

    def _room(self, t: Tensor) -> Tensor:
        return channels_last(t.new_empty(self.chunk, *t.shape[1:]))

    def _fill(self, room: Tensor, t: Tensor) -> None:
        room[: len(t)].copy_(t)
        room[len(t) :].copy_(t[:1].expand(len(room) - len(t), *t.shape[1:]))


def channels_last(t: Tensor) -> Tensor:
    """Images and convolution weights with their channels last in memory; other tensors contiguous."""
    return t.detach().contiguous(memory_format=torch.channels_last if t.dim() == 4 else torch.contiguous_format)


def _avg_pool2d_backward(
    dy: Tensor,
    x: Tensor,
    kernel: list[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    height, width = kernel if len(kernel) == 2 else kernel * 2
    h, w = dy.shape[-2:]
    apart = not stride or tuple(stride) in ((height, width), (height,) if height == width else None)
    if dy.dim() != 4 or not apart or any(padding) or tuple(x.shape[-2:]) != (h * height, w * width):
        return NotImplemented
    dy = (dy / (divisor or height * width))[:, :, :, None, :, None]
    return dy.expand(-1, -1, -1, height, -1, width).reshape(x.shape)


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, channels: int, positions: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    grouped = x.reshape(n, groups, channels // groups, positions)
    mean = grouped.mean((2, 3), keepdim=True)
    centred = grouped - mean
    rstd = torch.rsqrt(centred.square().mean((2, 3), keepdim=True) + eps)
    out = centred * rstd
    if weight is not None:
        out = out * weight.view(1, groups, -1, 1)
    if bias is not None:
        out = out + bias.view(1, groups, -1, 1)
    return out.reshape(x.shape), mean.view(n, groups), rstd.view(n, groups)


def _group_norm_backward(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    n: int,
    channels: int,
    positions: int,
    groups: int,
    mask: Sequence[bool],
) -> tuple[Tensor, None, None]:
    if mask[1] or mask[2]:
        return NotImplemented
    g, grouped = (t.reshape(n, groups, channels // groups, positions) for t in (dy, x))
    rstd = rstd.view(n, groups, 1, 1)
    xhat = (grouped - mean.view(n, groups, 1, 1)) * rstd
    own = 1 if weight is None else weight.view(1, groups, -1)
    count = positions * (channels // groups)
    first = (g.sum(3) * own).sum(2) / count  # channel by channel first: the sums that the layer's own score wants
    second = ((g * xhat).sum(3) * own).sum(2) / count
    if weight is not None:
        g = g * weight.view(1, groups, -1, 1)
    return ((g - first[:, :, None, None] - xhat * second[:, :, None, None]) * rstd).reshape(x.shape), None, None


REWRITES: dict[OpOverload, Callable[..., Any]] = {
    aten.avg_pool2d_backward.default: _avg_pool2d_backward,
    aten.native_group_norm.default: _group_norm,
    aten.native_group_norm_backward.default: _group_norm_backward,
}
