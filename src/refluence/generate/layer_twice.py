"""Layers whose parameters have a copy an image, with their backward and their second backward written out.

    convolution   z = W (*) a:           delta -> a: W^T delta, rows: a (*) delta
                  (u, v_i) ->            delta: W (*) u + v_i (*) a,         a: v_i^T delta
    group norm    xhat = (x - mu) r, y = gamma xhat + beta;   P w = w - mean(w) - xhat mean(w xhat),  g = gamma dy:
                  dy ->                  x: r P g,           rows: sum(dy xhat), sum(dy)
                  (u, p_i, q_i) ->       dy: gamma r P u + p_i xhat + q_i
                                         x: -r^2 (c P u + d P g + e xhat) + r P(p_i dy)
                                         with c = mean(g xhat), d = mean(u xhat), e = mean(u P g)
    pooling       the mean of 2 x 2 pixels: linear, its backward spreads

means are over a group of a norm, and xhat is never stored: everything is r x - r mu. The first backward, under `create_graph`,
has gradients enabled; the last one has not, and asks for no rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

Geometry = tuple[list[int], list[int], list[int], int]
"""Stride, padding, dilation and groups."""


class Conv(Function):
    """A convolution of a `(B, I, H, W)` by weights `(B, O, I, k, k)` and biases `(B, O)`, all B alike."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, w: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        """z `(B, O, ...)`."""
        ctx.save_for_backward(a, w)
        ctx.geometry, ctx.bias = geometry, bias is not None
        return F.conv2d(a, w[0], None if bias is None else bias[0], *geometry)

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        """By a, and the rows of weights and biases."""
        a, w = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return _conv_backward(delta, a, w[0], ctx.geometry, 0), None, None, None
        into, rows = _ConvBack.apply(delta, a, w, ctx.geometry)
        return into, rows, delta.sum((2, 3)) if ctx.bias else None, None


class _ConvBack(Function):
    @staticmethod
    def forward(ctx: Any, delta: Tensor, a: Tensor, w: Tensor, geometry: Geometry) -> tuple[Tensor | None, Tensor]:
        ctx.save_for_backward(delta, a, w)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        into = None if a.is_leaf else _conv_backward(delta, a, w[0], geometry, 0)  # rows ask nothing of the images themselves
        shape = w.new_empty(1).expand(w.shape[0] * w.shape[1], *w.shape[2:])
        return into, _conv_backward(_side(delta), _side(a), shape, _each(geometry, len(a)), 1).view(w.shape)

    @staticmethod
    def backward(ctx: Any, u: Tensor | None, v: Tensor) -> tuple[Tensor | None, ...]:
        delta, a, w = ctx.saved_tensors
        each, filters = _each(ctx.geometry, len(a)), v.reshape(-1, *v.shape[2:])
        by_delta = F.conv2d(_side(a), filters, None, *each).view(delta.shape)
        if u is not None:
            by_delta += F.conv2d(u, w[0], None, *ctx.geometry)
        return by_delta, _conv_backward(_side(delta), _side(a), filters, each, 0).view(a.shape), None, None


class Linear(Function):
    """a `(B, ..., I)` by weights `(B, O, I)` and biases `(B, O)`, all B alike."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        """z `(B, ..., O)`."""
        ctx.save_for_backward(a, w)
        ctx.bias = bias is not None
        return F.linear(a, w[0], None if bias is None else bias[0])

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        """By a, and the rows of weights and biases."""
        a, w = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return delta @ w[0], None, None
        into, rows = _LinearBack.apply(delta, a, w)
        return into, rows, _lines(delta).sum(1) if ctx.bias else None


class _LinearBack(Function):
    @staticmethod
    def forward(ctx: Any, delta: Tensor, a: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(delta, a, w)
        return delta @ w[0], _lines(delta).mT @ _lines(a)

    @staticmethod
    def backward(ctx: Any, u: Tensor, v: Tensor) -> tuple[Tensor | None, ...]:
        delta, a, w = ctx.saved_tensors
        by_delta = (u @ w[0].T).add_((_lines(a) @ v.mT).view(delta.shape))
        return by_delta, (_lines(delta) @ v).view(a.shape), None


class GroupNorm(Function):
    """x `(B, C, m)`, normalised by groups of channels, by weights and biases `(B, C)`, all B alike."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        """y `(B, C, m)`."""
        n, channels, pixels = x.shape
        y, mean, r = torch.native_group_norm(x, w[0], bias[0], n, channels, pixels, groups, eps)
        ctx.save_for_backward(x, w, mean, r)
        ctx.groups = groups
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """By x, and the rows of weights and biases."""
        x, w, mean, r = ctx.saved_tensors
        dy = dy.contiguous()
        if not torch.is_grad_enabled():
            mask = (True, False, False)
            back = torch.ops.aten.native_group_norm_backward
            return back(dy, x, mean, r, w[0], *x.shape, ctx.groups, mask)[0], None, None, None, None
        return *_GroupNormBack.apply(dy, x, w, mean, r, ctx.groups), None, None


class _GroupNormBack(Function):
    """In it, sums over the pixels of a channel are `(B, groups, channels of a group)`, means over a group `(B, groups, 1)`."""

    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, x: Tensor, w: Tensor, mean: Tensor, r: Tensor, groups: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        n, channels, _ = x.shape
        mu, r, gamma = mean.view(n, groups, 1), r.view(n, groups, 1), w[0].view(groups, -1)
        total = dy.sum(2).view(n, groups, -1)
        along = r * ((dy * x).sum(2).view(n, groups, -1) - mu * total)  # sum(dy xhat)
        g, c = _mean(total * gamma, x), _mean(along * gamma, x)
        ctx.save_for_backward(dy, x, w, mu, r, total, along, g, c)
        by_x = _combined(x, r * (r * mu * c - g), (dy, r * gamma), (x, -r * r * c))
        return by_x, along.view(n, channels), total.view(n, channels)

    @staticmethod
    def backward(ctx: Any, u: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor | None, ...]:
        dy, x, w, mu, r, total, along, g, c = ctx.saved_tensors
        u, gamma = u.contiguous(), w[0].view(total.shape[1:])
        p, q = p.view(total.shape), q.view(total.shape)
        sums = u.sum(2).view(total.shape)
        mean_u, d = _mean(sums, x), _mean(r * ((u * x).sum(2).view(total.shape) - mu * sums), x)
        mean_ug = _mean((u * dy).sum(2).view(total.shape) * gamma, x)
        of_x = r * (p - gamma * r * d)
        by_dy = _combined(x, q - gamma * r * mean_u - mu * of_x, (u, r * gamma), (x, of_x))
        e = mean_ug - mean_u * g - c * d
        of_hat = -r * r * (e - 2 * c * d) - r * _mean(p * along, x)
        constant = r * r * (c * mean_u + d * g) - r * _mean(p * total, x) - r * mu * of_hat
        by_x = _combined(x, constant, (u, -r * r * c), (dy, r * (p - r * d * gamma)), (x, r * of_hat))
        return by_dy, by_x, None, None, None, None


class Pool(Function):
    """The means of squares of 2 x 2 pixels of maps `(B, C, H, W)`: on the CPU seven times as fast as `avg_pool2d`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Means `(B, C, H / 2, W / 2)`."""
        n, c, h, w = x.shape
        rows = x.reshape(n, c, h // 2, 2, w)
        pairs = (rows[:, :, :, 0] + rows[:, :, :, 1]).view(n, c, h // 2, w // 2, 2)
        return (pairs[..., 0] + pairs[..., 1]).mul_(0.25)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Tensor:
        """By x."""
        return _Spread.apply(d)


class _Spread(Function):
    @staticmethod
    def forward(ctx: Any, d: Tensor) -> Tensor:
        n, c, h, w = d.shape
        pairs = (d * 0.25)[..., None].expand(n, c, h, w, 2).reshape(n, c, h, 1, 2 * w)
        return pairs.expand(n, c, h, 2, 2 * w).reshape(n, c, 2 * h, 2 * w)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Tensor:
        return Pool.apply(u)


def _conv_backward(delta: Tensor, a: Tensor, w: Tensor, geometry: Geometry, which: int) -> Tensor:
    """The gradient of a convolution by its input (0) or its weight (1)."""
    stride, padding, dilation, groups = geometry
    mask = [which == 0, which == 1, False]
    back = torch.ops.aten.convolution_backward
    return back(delta, a, w, None, stride, padding, dilation, False, [0, 0], groups, mask)[which]


def _side(t: Tensor) -> Tensor:
    """The maps `(B, C, H, W)` of all images side by side, `(1, B C, H, W)`: each image a group of a convolution of its own."""
    return t.reshape(1, -1, *t.shape[2:])


def _each(geometry: Geometry, images: int) -> Geometry:
    stride, padding, dilation, groups = geometry
    return stride, padding, dilation, groups * images


def _lines(t: Tensor) -> Tensor:
    """`(B, ..., F)` as `(B, L, F)`."""
    return t.reshape(len(t), -1, t.shape[-1])


def _mean(sums: Tensor, x: Tensor) -> Tensor:
    """Means over groups `(B, groups, 1)` from sums over the pixels of channels."""
    return sums.sum(2, keepdim=True) / (sums.shape[2] * x.shape[2])


def _combined(x: Tensor, constant: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """The sum of terms `(B, C, m)`, each times a factor of its channel or group, and of a constant."""
    n, channels, _ = x.shape

    def laid(factor: Tensor) -> Tensor:
        groups = constant.shape[1]
        return factor.expand(n, groups, channels // groups).reshape(n, channels, 1)

    (first, factor), *others = terms
    out = (first * laid(factor)).add_(laid(constant))
    for term, factor in others:
        out.addcmul_(term, laid(factor))
    return out
