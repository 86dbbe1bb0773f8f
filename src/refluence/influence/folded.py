"""A convolution and the batch norm with fixed statistics that alone reads it are one linear layer, so they take one product:

    out = w r (conv(a; W) + b - m) + c,    r = 1 / sqrt(variance + eps)
    d out along v = conv(a; r (w v_W + v_w W)) + r (w v_b + v_w (b - m)) + v_c

The norm costs no pass of its own, and the gradient at the convolution's output is not read. So nothing may change either of
them in between, in place outside the graph or by a hook of the tensor.
"""

from __future__ import annotations

from collections import defaultdict
from typing import cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.modules.batchnorm import _BatchNorm

from refluence.influence.layers import Call
from refluence.influence.watching import edges_below


def folded(each: Tensor, calls: list[Call]) -> dict[int, Call]:
    """The convolutions' calls by the `id` of the call of the norm that each of them belongs to, for losses `each` `(n,)`."""
    convolutions = [call for call in calls if isinstance(call.module, nn.Conv2d) and _weighs(call)]
    makers: dict[Node | None, Call] = {call.edge.node: call for call in convolutions if call.edge is not None}
    norms = [call for call in calls if isinstance(call.module, _BatchNorm) and call.below in makers and _weighs(call)]
    if not norms:
        return {}
    readers: dict[Node | None, list[Node]] = defaultdict(list)
    for (node, _), following in edges_below(each.grad_fn):
        readers[following].append(node)
    return {
        id(norm): maker
        for norm in norms
        if norm.edge and readers[norm.below] == [norm.edge.node] and _as_made(maker := makers[norm.below], norm)
    }


def _as_made(conv: Call, norm: Call) -> bool:
    """Whether the norm read what the convolution gave, and the gradient comes back to it as the norm leaves it."""
    return norm.version == conv.made and not norm.given._backward_hooks


def _weighs(call: Call) -> bool:
    """Whether the weight of the layer counts, with digits enough for sums that nearly cancel (not under autocast)."""
    return "weight" in call.names and call.a.dtype == cast(Tensor, call.module.weight).dtype in (torch.float32, torch.float64)


def folded_direction(
    conv: Call, norm: Call, v: dict[str, Tensor], dtype: torch.dtype
) -> tuple[nn.Conv2d, tuple[Tensor, Tensor]]:
    """The convolution, and the weight and bias that it has along v, the norm's part included."""
    layer, after = conv.module, norm.module
    assert isinstance(layer, nn.Conv2d)
    assert isinstance(after, _BatchNorm)
    assert after.running_mean is not None
    assert after.running_var is not None
    weight, scale = layer.weight.detach().to(dtype), after.weight.detach().to(dtype)
    mean, r = after.running_mean.to(dtype), torch.rsqrt(after.running_var.to(dtype) + after.eps)
    v_scale = v[norm.names["weight"]].to(dtype) * r
    scale = scale * r
    bias = -mean if layer.bias is None else layer.bias.detach().to(dtype) - mean
    along = bias * v_scale
    if "bias" in conv.names:
        along = along + scale * v[conv.names["bias"]].to(dtype)
    if "bias" in norm.names:
        along = along + v[norm.names["bias"]].to(dtype)
    apart = (-1, 1, 1, 1)
    own = scale.view(apart) * v[conv.names["weight"]].to(dtype)
    return layer, (own.addcmul_(v_scale.view(apart), weight), along)
