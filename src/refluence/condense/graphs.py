"""The gradient statistic of one class batch as graphs, traced through autograd once and compiled (influence/fused.py).

    a         = grad_theta (1/M) sum_i l_i       of synthetic images: forwards
    dx        = d<a, u>/dx                       at any cotangent u: backwards, which runs the pass again, twice differentiated
    rows      = grad_theta l_j `(n, ...)`        of a real batch, chunk by chunk

Parameters and buffers are inputs, so one graph serves every network that is built alike. The values are those of the plain
passes up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from refluence.compute import Graphs
from refluence.functional import call_at
from refluence.influence.batches import CHUNK
from refluence.influence.capture import ROOM
from refluence.influence.fused import Fused, Graph
from refluence.influence.layers import Room, pieces
from refluence.influence.watching import check_called, check_rows, watch, watched
from refluence.matching.statistics import MeasuredRows

State = dict[str, Tensor]


def fits(net: nn.Module, names: Sequence[str], count: int) -> bool:
    """Whether the gradients of `count` instances have room beside each other."""
    wanted = set(names)
    return count * sum(p.numel() * p.element_size() for name, p in net.named_parameters() if name in wanted) <= ROOM


def synthetic(graphs: Graphs, net: nn.Module, x: Tensor, y: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """The gradient of the mean loss over x `(M, C, H, W)` by name, with the graph that leads back to x and to soft labels y."""
    return dict(zip(names, _Synthetic.apply(graphs, net, tuple(names), x, y), strict=True))


def real(graphs: Graphs, net: nn.Module, x: Tensor, y: Tensor, names: Sequence[str]) -> MeasuredRows:
    """One pass over x `(n, C, H, W)` for the mean, scores and weighted means. Raises `Unsupported` as `capture` does."""
    size = min(CHUNK, len(x))
    pass_ = graphs.of("rows", net, names, x[:size], y, lambda: Fused(_rows(net, names), size))
    parts = [pass_(state_of(net), {}, x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    shapes = {name: p.shape for name, p in net.named_parameters()}
    rows = {name: torch.cat([part[1][name] for part in parts]).view(len(x), *shapes[name]) for name in names}
    losses = torch.cat([losses for losses, _ in parts])
    return MeasuredRows(rows, lambda: losses)


def state_of(net: nn.Module) -> State:
    """Parameters and buffers as they are, detached."""
    return {name: t.detach() for name, t in (*net.named_parameters(), *net.named_buffers())}


class _Synthetic(torch.autograd.Function):
    """a forwards, d<a, u>/d(x, y) backwards."""

    @staticmethod
    def forward(ctx: Any, graphs: Graphs, net: nn.Module, names: tuple[str, ...], x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        state = state_of(net)
        ctx.names, ctx.keys = names, tuple(state)
        ctx.back = graphs.of("pulled", net, names, x, y, lambda: Graph(_pulled(net, names)))
        ctx.save_for_backward(x, y, *state.values())
        return tuple(graphs.of("gradient", net, names, x, y, lambda: Graph(_gradient(net, names)))(state, x, y))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        x, y, *state = ctx.saved_tensors
        found = ctx.back(dict(zip(ctx.keys, state, strict=True)), x, y, list(cotangents))
        return None, None, None, found[0], found[1] if len(found) > 1 else None


def _gradient(net: nn.Module, names: Sequence[str]) -> Callable[..., Sequence[Tensor]]:
    def one(state: State, x: Tensor, y: Tensor) -> Sequence[Tensor]:
        state = learnable(net, state)
        with torch.enable_grad():
            loss = cross_entropy(call_at(net, state, x), y)
            return torch.autograd.grad(loss, [state[name] for name in names])

    return one


def _pulled(net: nn.Module, names: Sequence[str]) -> Callable[..., Sequence[Tensor]]:
    def one(state: State, x: Tensor, y: Tensor, cotangents: Sequence[Tensor]) -> Sequence[Tensor]:
        state, x, y = learnable(net, state), leaf(x), leaf(y)
        with torch.enable_grad():
            loss = cross_entropy(call_at(net, state, x), y)
            a = torch.autograd.grad(loss, [state[name] for name in names], create_graph=True)
            return torch.autograd.grad(a, [t for t in (x, y) if t.requires_grad], cotangents)

    return one


def _rows(net: nn.Module, names: Sequence[str]) -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
    layers = watched(net, names)[1]

    def one(state: State, v: State, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        state = learnable(net, state)
        with watch(layers) as calls, torch.enable_grad():
            losses = cross_entropy(call_at(net, state, x), y, reduction="none")
            check_called(calls, layers)
            check_rows(calls, layers, len(x))
            deltas = torch.autograd.grad(losses.sum(), [call.edge for call in calls if call.edge is not None])
        rows: dict[str, Tensor] = {}
        for call, delta in zip(calls, deltas, strict=True):
            for piece in pieces(call, delta, Room(0, len(x))):
                rows[piece.name] = rows[piece.name] + piece.each() if piece.name in rows else piece.each()
        return losses.detach(), rows

    return one


def learnable(net: nn.Module, state: State) -> State:
    """The same values; the parameters among them with gradients of their own."""
    own = {name for name, _ in net.named_parameters()}
    return {name: leaf(t) if name in own else t for name, t in state.items()}


def leaf(t: Tensor) -> Tensor:
    """The same values with a gradient of their own, where they have one."""
    return t.detach().requires_grad_() if t.is_floating_point() else t
