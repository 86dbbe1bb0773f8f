"""The gradient of each image's loss by the parameters, and its derivative by the image, in passes over a whole batch:

    a_i = grad_theta l(x_i, y_i; theta)  (P,)            d/dx_i <a_i, v_i>  (C, H, W)

Every parameter stands for B copies of itself (a view, no memory), so that its gradient has a row an image. The layers that own
parameters become functions whose backward gives those rows, and whose second backward is written out (layer_twice.py): that
of PyTorch makes three times as many passes over memory.

A parameter that acts anywhere else is `Unsupported`: `torch.func` serves there (influence.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from refluence.generate.layer_twice import Conv, GroupNorm, Linear, Pool
from refluence.influence.layers import Unsupported
from refluence.models.pooling import plain_pooling


def expanded_gradients(net: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """Rows `(B, ...)` of the gradient by each parameter, in the order of the network, with the graph that leads to `x`.

    The network is in evaluation mode; `x (B, C, H, W)` requires a gradient and is a leaf.

    Raises:
        Unsupported: a parameter acts elsewhere than in a covered layer.
    """
    copies: dict[Tensor, Tensor] = {p: p.detach()[None].expand(len(x), *p.shape).requires_grad_() for p in net.parameters()}
    with torch.enable_grad():
        with plain_pooling(), _Expanded(copies):
            logits = net(x)
        loss = F.cross_entropy(logits, y, reduction="sum")
        return list(torch.autograd.grad(loss, list(copies.values()), create_graph=True, materialize_grads=True))


class _Expanded(TorchFunctionMode):
    """While on, layers use the copies of their parameters."""

    def __init__(self, copies: Mapping[Tensor, Tensor]):
        super().__init__()
        self.copies = copies
        self.layers: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
            F.conv2d: self._conv,
            F.linear: self._linear,
            F.group_norm: self._group_norm,
            F.layer_norm: self._layer_norm,
            F.batch_norm: self._batch_norm,
            F.instance_norm: self._instance_norm,
            F.avg_pool2d: self._pool,
        }

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The layer's own function where there is one; else what is called, which gives no tensor made of a parameter."""
        kwargs = kwargs or {}
        if (layer := self.layers.get(function)) is not None and (out := layer(*args, **kwargs)) is not None:
            return out
        out = function(*args, **kwargs)
        read = any(isinstance(t, nn.Parameter) and t in self.copies for t in tree_leaves((args, kwargs)))
        if read and any(isinstance(t, Tensor) for t in tree_leaves(out)):
            raise Unsupported(f"a parameter acts in {getattr(function, '__name__', function)}, outside the covered layers")
        return out

    def _conv(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor | None:
        w, b = self._own(weight, bias)
        if w is None or isinstance(padding, str):
            return None
        return Conv.apply(input, w, b, (_pair(stride), _pair(padding), _pair(dilation), groups))

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
        w, b = self._own(weight, bias)
        return None if w is None else Linear.apply(input, w, b)

    def _group_norm(
        self, input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
    ) -> Tensor | None:
        w, b = self._own(weight, bias)
        if w is None or b is None:
            return None
        return GroupNorm.apply(input.flatten(2).contiguous(), w, b, num_groups, eps).view(input.shape)

    def _layer_norm(
        self, input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
    ) -> Tensor | None:
        w, b = self._own(weight, bias)
        return None if w is None else _affine(F.layer_norm(input, normalized_shape, eps=eps), w, b, input.dim() - w.dim(), 0)

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor | None:
        w, b = self._own(weight, bias)
        if w is None or training:
            return None
        plain = F.batch_norm(input, running_mean, running_var, None, None, False, momentum, eps)
        return _affine(plain, w, b, 0, input.dim() - 2)

    def _instance_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor | None:
        w, b = self._own(weight, bias)
        if w is None:
            return None
        plain = F.instance_norm(input, running_mean, running_var, None, None, use_input_stats, momentum, eps)
        return _affine(plain, w, b, 0, input.dim() - 2)

    def _pool(
        self,
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor | None:
        even = input.dim() == 4 and not any(side % 2 for side in input.shape[2:])
        halves = _pair(kernel_size) == [2, 2] == _pair(stride or kernel_size) and _pair(padding) == [0, 0]
        return Pool.apply(input) if even and halves and divisor_override is None else None

    def _own(self, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """The copies of a weight and a bias, if they are parameters."""
        if weight is None or weight not in self.copies or (bias is not None and bias not in self.copies):
            return None, None
        return self.copies[weight], None if bias is None else self.copies[bias]


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None, before: int, after: int) -> Tensor:
    """x `(B, …)` times weights and plus biases `(B, …)`, which have so many dimensions of 1 more before and after their own."""

    def laid(t: Tensor) -> Tensor:
        return t.view(len(t), *[1] * before, *t.shape[1:], *[1] * after)

    return x * laid(weight) if bias is None else torch.addcmul(laid(bias), x, laid(weight))
