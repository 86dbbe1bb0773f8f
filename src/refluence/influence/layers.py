"""What is kept of one layer for one chunk of a batch, and how it is contracted.

linear map  g_j = delta_j a_j^T:   <v, g_j> = <delta_j, layer(a_j; v)>,  sum_j omega_j g_j = (omega delta)^T a
embedding   the same, where a_j is the one-hot rows of its ids: nothing but v[ids] and an indexed sum
rows        g_j itself, `(n, P)`:  <v, g_j> = rows v,                    sum_j omega_j g_j = omega rows
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from refluence.influence.small_layers import rows as small_rows

Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]
"""Stride, zeros added on each side, dilation and groups of a convolution."""
NORMS = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, _InstanceNorm, _BatchNorm)
MANY = 32  # positions that share a weight: from here on its per-sample gradients repay their memory traffic


class Unsupported(ValueError):  # noqa: N818 (read as a state: "this layer is unsupported")
    """A layer whose per-sample gradients the ghost method cannot reach. The message names it."""


@dataclass
class Call:
    """One call of a layer: its input, the edge of the graph where its output gradient is read (None: no graph), the node of
    the graph that its input comes from, the input as it was given (with its hooks), and the version of its output.
    """

    module: nn.Module
    names: dict[str, str]
    a: Tensor
    version: int
    edge: GradientEdge | None
    below: Node | None
    given: Tensor
    made: int


class Room:
    """Bytes left for per-sample weight gradients, decided layer by layer on the first chunk and then kept to."""

    def __init__(self, room: int, batch: int):
        self.left, self.batch = room, batch
        self.decided: dict[Hashable, bool] = {}

    def rows(self, key: Hashable, gradient: int, activations: int, positions: int, itemsize: int) -> bool:
        """Whether to keep per-sample gradients of `gradient` numbers rather than `activations` numbers a sample."""
        if gradient <= activations:
            return True
        if positions < MANY:
            return False
        if key not in self.decided:
            cost = gradient * itemsize * self.batch
            self.decided[key] = cost <= self.left
            self.left -= cost if self.decided[key] else 0
        return self.decided[key]


class _Rows:
    """Per-sample gradients `(n, P)`, kept as they are."""

    def __init__(self, name: str, rows: Tensor):
        self.name, self.rows = name, rows

    def gradient(self, w: Tensor | None) -> Tensor:
        w = self.rows.new_ones(len(self.rows)) if w is None else w.to(self.rows.dtype)
        return w @ self.rows

    def scores(self, v: Tensor) -> Tensor:
        return self.rows @ v.reshape(-1).to(self.rows.dtype)

    def each(self) -> Tensor:
        return self.rows


class _Linear:
    """out = a W^T: g_j = sum over positions of delta_j a_j^T. a `(n, L, I)`, delta `(n, L, O)`."""

    def __init__(self, name: str, a: Tensor, delta: Tensor):
        self.name, self.a, self.delta = name, a, delta

    def gradient(self, w: Tensor | None) -> Tensor:
        delta = self.delta if w is None else self.delta * w.to(self.delta.dtype)[:, None, None]
        return delta.flatten(0, 1).T @ self.a.flatten(0, 1)

    def scores(self, v: Tensor) -> Tensor:
        return (self.delta * (self.a @ v.T.to(self.a.dtype))).sum((1, 2), dtype=_wide(v))

    def each(self) -> Tensor:
        return (self.delta.mT @ self.a).flatten(1)


class _Conv:
    """out = conv(a; W): <v, g_j> = <delta_j, conv(a_j; v)>. a `(n, I, H, W)`, delta `(n, O, H', W')`."""

    def __init__(self, name: str, a: Tensor, delta: Tensor, geometry: Geometry, weight: Tensor):
        self.name, self.a, self.delta, self.geometry, self.weight = name, a, delta, geometry, weight

    def gradient(self, w: Tensor | None) -> Tensor:
        delta = self.delta if w is None else self.delta * w.to(self.delta.dtype)[:, None, None, None]
        return _conv_gradient(self.a, delta, self.weight, self.geometry)

    def scores(self, v: Tensor) -> Tensor:
        return (self.delta * F.conv2d(self.a, v.to(self.a.dtype), None, *self.geometry)).flatten(1).sum(1, dtype=_wide(v))

    def each(self) -> Tensor:
        return _conv_rows(self.a, self.delta, self.weight, self.geometry)


def _wide(t: Tensor) -> torch.dtype:
    return torch.promote_types(t.dtype, torch.float32)


class _Transposed(_Linear):
    """out = a W, as the Hub's Conv1D: g_j = sum over positions of a_j delta_j^T."""

    def gradient(self, w: Tensor | None) -> Tensor:
        return super().gradient(w).T.contiguous()

    def scores(self, v: Tensor) -> Tensor:
        return super().scores(v.T)

    def each(self) -> Tensor:
        return (self.a.mT @ self.delta).flatten(1)


class _Embedded:
    """out = W[ids]: <v, g_j> = <delta_j, v[ids_j]>. ids `(n, ...)`, delta `(n, ..., D)`, zero at the padding id."""

    def __init__(self, name: str, ids: Tensor, delta: Tensor, rows: int):
        self.name, self.ids, self.delta, self.rows = name, ids, delta, rows

    def gradient(self, w: Tensor | None) -> Tensor:
        delta = self.delta if w is None else self.delta * w.to(self.delta.dtype).view(-1, *[1] * (self.delta.dim() - 1))
        total = delta.new_zeros(self.rows, delta.shape[-1])
        return total.index_add_(0, self.ids.flatten(), delta.reshape(-1, delta.shape[-1]))

    def scores(self, v: Tensor) -> Tensor:
        return (self.delta * F.embedding(self.ids, v.to(self.delta.dtype))).flatten(1).sum(1, dtype=_wide(v))

    def each(self) -> Tensor:
        n, size = len(self.ids), self.delta.shape[-1]
        total = self.delta.new_zeros(n, self.rows, size)
        ids, delta = self.ids.reshape(n, -1, 1), self.delta.reshape(n, -1, size)
        return total.scatter_add_(1, ids.expand(delta.shape), delta).flatten(1)


Piece = _Rows | _Linear | _Conv | _Embedded


def hub_conv1d() -> type[nn.Module] | None:
    """transformers' transposed linear layer, where transformers is loaded."""
    return getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", None)


def is_product(module: nn.Module) -> bool:
    """Whether a module multiplies its last axis by a matrix: a linear layer, or the Hub's transposed one."""
    return isinstance(module, nn.Linear) or type(module) is hub_conv1d()


def unpadded(module: nn.Embedding, ids: Tensor, delta: Tensor) -> Tensor:
    """`delta` `(n, ..., D)`, zero where the id is the one of padding, whose row never moves."""
    return delta if module.padding_idx is None else delta.masked_fill((ids == module.padding_idx)[..., None], 0)


def unchanged(call: Call) -> Tensor:
    """The layer's input, or `Unsupported` where it was overwritten after the call: what the layer saw is lost."""
    if call.a._version != call.version:
        raise Unsupported(f"the input of the layer of '{next(iter(call.names.values()))}' is changed in place after it")
    return call.a


def pieces(call: Call, delta: Tensor, room: Room) -> list[Piece]:
    """What to keep of a call whose output has the gradient `delta`. Under autocast both are held at the dtype of `delta`."""
    module, names, a = call.module, call.names, unchanged(call)
    if isinstance(module, nn.Embedding):
        return [_Embedded(names["weight"], a, unpadded(module, a, delta), module.num_embeddings)]
    a = a.to(delta.dtype)
    if isinstance(module, nn.Conv2d):
        return _conv_pieces(module, names, a, delta, room)
    if is_product(module):
        kind = _Linear if isinstance(module, nn.Linear) else _Transposed
        a, delta = a.reshape(len(a), -1, a.shape[-1]), delta.reshape(len(a), -1, delta.shape[-1])
        found: list[Piece] = []
        if "weight" in names:
            positions = a.shape[1]
            activations = positions * (a.shape[2] + delta.shape[2])
            if room.rows(module, a.shape[2] * delta.shape[2], activations, positions, a.element_size()):
                found.append(_Rows(names["weight"], kind(names["weight"], a, delta).each()))
            else:
                found.append(kind(names["weight"], a, delta))
        return found + ([_Rows(names["bias"], delta.sum(1))] if "bias" in names else [])
    if not isinstance(module, NORMS):
        return [_Rows(names[kind], each) for kind, each in small_rows(module, a, delta, names).items()]
    rows = {"bias": lambda: delta, "weight": lambda: delta * normalised(module, a)}
    return [_Rows(name, per_sample_sum(module, rows[kind]())) for kind, name in names.items()]


def normalised(module: nn.Module, a: Tensor) -> Tensor:
    """The input of the affine part of a norm layer."""
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(a, module.num_groups, eps=module.eps)
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(a, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.RMSNorm):
        return F.rms_norm(a, module.normalized_shape, eps=module.eps)
    if isinstance(module, _BatchNorm):
        return F.batch_norm(a, module.running_mean, module.running_var, eps=module.eps)
    assert isinstance(module, _InstanceNorm), f"{type(module).__name__} is no layer that watching.py covers"
    own = not module.track_running_stats
    return F.instance_norm(a, module.running_mean, module.running_var, use_input_stats=own, eps=module.eps)


def per_sample_sum(module: nn.Module, t: Tensor) -> Tensor:
    """Sum over positions: `(n, C, ...)` to `(n, C)`; of channels at the end `(n, ..., C)` to `(n, C)`."""
    if is_product(module):
        return t.reshape(len(t), -1, t.shape[-1]).sum(1)
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return t.reshape(len(t), -1, module.weight.numel()).sum(1)
    return t.reshape(*t.shape[:2], -1).sum(2)


def _conv_pieces(module: nn.Conv2d, names: dict[str, str], a: Tensor, delta: Tensor, room: Room) -> list[Piece]:
    found: list[Piece] = [_Rows(names["bias"], delta.sum((2, 3)))] if "bias" in names else []
    if "weight" not in names:
        return found
    a, padding = padded(module, a)
    geometry = (module.stride, padding, module.dilation, module.groups)
    positions = delta.shape[2] * delta.shape[3]
    if room.rows(module, module.weight.numel(), a[0].numel() + delta[0].numel(), positions, a.element_size()):
        return [*found, _Rows(names["weight"], _conv_rows(a, delta, module.weight.detach().to(delta.dtype), geometry))]
    return [*found, _Conv(names["weight"], a, delta, geometry, module.weight.detach().to(delta.dtype))]


def padded(module: nn.Conv2d, a: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The input, and the zeros that the convolution is still to add on each side; other paddings are added here."""
    if module.padding_mode == "zeros" and not isinstance(module.padding, str):
        return a, module.padding
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(a, module._reversed_padding_repeated_twice, mode=mode), (0, 0)


def _conv_rows(a: Tensor, delta: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Per-sample weight gradients `(n, O*I*k*k)` of a convolution.

    On the CPU by one grouped convolution whose groups are the samples: faster there than unfolding.
    """
    if a.device.type != "cpu":
        return _unfolded_rows(a, delta, weight, geometry)
    n, (stride, padding, dilation, groups) = len(a), geometry
    a, delta = a.reshape(1, -1, *a.shape[2:]), delta.reshape(1, -1, *delta.shape[2:])
    shape = weight.new_empty(1).expand(n * len(weight), *weight.shape[1:])
    return _conv_gradient(a, delta, shape, (stride, padding, dilation, groups * n)).reshape(n, -1)


def _unfolded_rows(a: Tensor, delta: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The same as one batched product: delta_j times the unfolded input, group by group."""
    stride, padding, dilation, groups = geometry
    n, positions = len(a), delta.shape[2] * delta.shape[3]
    columns = F.unfold(a, weight.shape[2:], dilation=dilation, padding=padding, stride=stride)
    rows = delta.reshape(n, groups, -1, positions) @ columns.view(n, groups, -1, positions).mT
    return rows.reshape(n, -1)


def _conv_gradient(a: Tensor, delta: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Sum of the weight gradients of all samples; `weight` gives only the shape."""
    stride, padding, dilation, groups = geometry
    mask = (False, True, False)
    return torch.ops.aten.convolution_backward(delta, a, weight, None, stride, padding, dilation, False, (0, 0), groups, mask)[
        1
    ]
