"""Only the scores of one chunk, with nothing kept for another contraction (capture.py keeps):

    <v, g_j> = sum over the calls of every layer of < delta_j, layer(a_j; v) >

One forward for the layers' inputs a, one activation-backward of the sum of the losses for their output gradients delta, and
each layer once more with v in the place of its parameters; for a norm, layer(a; v) = v_weight xhat + v_bias. A convolution
and the batch norm behind it are one such layer (folded.py). About 3 forwards of arithmetic, since nothing is propagated into
the first layer's input.

In half precision ("bf16", the rule is ours) the forward stays as it is, so that no ReLU changes its side; the convolutions
and matrix products of the other two thirds run in bfloat16, and are summed in float32 at least.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from refluence.influence.differentiable import leaves, only_leaves, per_sample, plain_kernels
from refluence.influence.folded import folded, folded_direction
from refluence.influence.layers import (
    NORMS,
    Call,
    is_product,
    normalised,
    padded,
    per_sample_sum,
    unchanged,
    unpadded,
)
from refluence.influence.losses import Loss
from refluence.influence.parameters import Parameters
from refluence.influence.small_layers import tangent
from refluence.influence.watching import check_called, check_rows, output_gradients, watch, watched
from refluence.matching.statistics import Targets
from refluence.models.pooling import plain_pooling

LARGE, BLOCK = 2**17, 2**16  # numbers of a sample beyond which products are summed as they are made, so many at a time


class Ghost(nn.Module):
    """The pass as a module around `model`, so that `torch.func.functional_call` can replace the parameters for all of it.

    `names`: the parameters that v will name. `shared`: the labels of embeddings with the same ids for all samples. Raises
    `Unsupported` for a layer that capture.py does not cover.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, names: Iterable[str], half: bool = False, shared: frozenset[str] = frozenset()
    ):
        super().__init__()
        self.model, self.loss, self.low, self.names = model, loss, half, tuple(names)
        self.layers = watched(model, self.names, shared)[1]

    def forward(self, v: dict[str, Tensor], x: Tensor, y: Targets, kept: list[Tensor] | None = None) -> Tensor:
        """<v, g_j> `(n,)` for inputs x `(n, ...)` and targets y, in float32 at least. `kept` gets the losses `(n,)` too."""
        every = list(self.model.parameters())
        own = all(isinstance(p, nn.Parameter) for p in every)  # else `functional_call` has put others there
        part = own and len(self.names) < len(every)
        plain = plain_pooling() if self.low else nullcontext()  # its backward is no product of the network's own
        with (
            watch(self.layers, len(x)) as calls,
            self._leaves(own, part),
            plain_kernels(self.model),
            plain,
            torch.enable_grad(),
        ):
            x = x.detach()
            x = x.requires_grad_() if x.is_floating_point() and not part else x
            each = per_sample(self.loss(self.model(x), y), len(x))
            check_called(calls, self.layers)
            check_rows(calls, self.layers, len(x))
            pairs = folded(each, calls) if own and not self.low else {}
            with _HalfProducts() if self.low else nullcontext():
                deltas = output_gradients(each, calls, self.layers, {id(conv) for conv in pairs.values()})
        if kept is not None:
            kept.append(each.detach())
        with torch.no_grad():
            parts = [_dot(call, delta, v, self.low, own, pairs.get(id(call))) for call, delta in deltas]
            return torch.stack(parts).sum(0) if parts else torch.zeros_like(each, dtype=_wide(each))

    def _leaves(self, own: bool, part: bool) -> AbstractContextManager[Parameters | None]:
        """The watched parameters as leaves of the graph; the only ones where they are a part, so that it begins with them."""
        if not own:
            return nullcontext()
        return only_leaves(self.model, self.names) if part else leaves(self.model, self.names)


def _dot(call: Call, delta: Tensor, v: dict[str, Tensor], half: bool, eager: bool, maker: Call | None = None) -> Tensor:
    """< delta_j, layer(a_j; v) > `(n,)` of one call. `eager`: it is not traced. `maker`: the convolution folded into a norm."""
    if maker is not None:
        layer, along = folded_direction(maker, call, v, delta.dtype)
        return _convolved(layer, unchanged(maker).to(delta.dtype), delta, *along, eager)
    module, a = call.module, unchanged(call)
    own = {kind: v[name].detach().to(delta.dtype) for kind, name in call.names.items()}
    weight, bias = own.get("weight"), own.get("bias")
    if isinstance(module, nn.Embedding) and weight is not None:
        return (unpadded(module, a, delta) * F.embedding(a, weight)).flatten(1).sum(1, dtype=_wide(delta))
    a, product = a.to(delta.dtype), is_product(module)
    if not product and not isinstance(module, (nn.Conv2d, *NORMS)):
        return (delta * tangent(module, a, own)).flatten(1).sum(1, dtype=_wide(delta))
    if weight is not None and (product or isinstance(module, nn.Conv2d)):
        if half:
            a, weight = a.to(torch.bfloat16), weight.to(torch.bfloat16)
            bias = None if bias is None else bias.to(torch.bfloat16)
        if isinstance(module, nn.Conv2d):
            return _convolved(module, a, delta, weight, bias, eager)
        out = F.linear(a, weight if isinstance(module, nn.Linear) else weight.T, bias)
        return _times(out, delta, eager).flatten(1).sum(1, dtype=_wide(delta))
    if isinstance(module, _BatchNorm) and weight is not None and eager and delta[0].numel() > LARGE:
        return _inner(delta, F.batch_norm(a, module.running_mean, module.running_var, weight, bias, eps=module.eps), eager)
    total = torch.zeros(len(delta), dtype=_wide(delta), device=delta.device)
    if weight is not None:
        total = total + per_sample_sum(module, _times(normalised(module, a), delta, eager)) @ weight.flatten()
    if bias is not None:
        total = total + per_sample_sum(module, delta) @ bias.flatten()
    return total


def _convolved(module: nn.Conv2d, a: Tensor, delta: Tensor, weight: Tensor, bias: Tensor | None, eager: bool) -> Tensor:
    """<delta_j, conv(a_j; weight) + bias> `(n,)`."""
    a, padding = padded(module, a)
    if eager and _pointwise(module, a, delta):  # delta_j a_j^T is small: no map is written
        rows = (delta.flatten(2) @ a.flatten(2).mT).flatten(1) @ weight.flatten()
        return rows if bias is None else rows + delta.sum((2, 3)) @ bias
    return _inner(delta, F.conv2d(a, weight, bias, module.stride, padding, module.dilation, module.groups), eager)


def _inner(delta: Tensor, out: Tensor, eager: bool) -> Tensor:
    """<delta_j, out_j> `(n,)` of maps `(n, C, ...)`, without their product where it is large on the CPU."""
    if not eager or delta[0].numel() <= LARGE or delta.device.type != "cpu" or delta.dtype != out.dtype:
        return _times(out, delta, eager).sum((2, 3), dtype=_wide(delta)).sum(1)
    pairs = zip(delta.flatten(1), out.flatten(1), strict=True)
    return torch.stack([torch.stack([*map(torch.dot, a.split(BLOCK), b.split(BLOCK))]).sum() for a, b in pairs])


def _pointwise(module: nn.Conv2d, a: Tensor, delta: Tensor) -> bool:
    """Whether a layer multiplies each pixel of a large map by a matrix, on the CPU."""
    plain = module.kernel_size == module.stride == (1, 1) and module.padding in ((0, 0), "valid") and module.groups == 1
    return plain and delta.device.type == "cpu" and a.dtype == delta.dtype and delta[0].numel() > LARGE


def _times(out: Tensor, delta: Tensor, eager: bool) -> Tensor:
    """Their product; in the place of `out`, which no one reads again, where nothing is traced."""
    return out.mul_(delta) if eager and out.dtype == delta.dtype else delta * out


def _wide(t: Tensor) -> torch.dtype:
    return torch.promote_types(t.dtype, torch.float32)


class _HalfProducts(TorchDispatchMode):
    """Convolution gradients and matrix products in bfloat16, their results in the dtype that they would have had."""

    PRODUCTS = (
        torch.ops.aten.convolution_backward.default,
        torch.ops.aten.mm.default,
        torch.ops.aten.bmm.default,
        torch.ops.aten.addmm.default,
    )

    def __torch_dispatch__(
        self, function: OpOverload, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function not in self.PRODUCTS:
            return function(*args, **(kwargs or {}))
        dtype = args[0].dtype
        low = [t.to(torch.bfloat16) if isinstance(t, Tensor) and t.is_floating_point() else t for t in args]
        out = function(*low, **(kwargs or {}))
        return out.to(dtype) if isinstance(out, Tensor) else tuple(None if t is None else t.to(dtype) for t in out)
