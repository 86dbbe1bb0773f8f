"""The one primitive of every influence here, for every sample j of a batch in one pass, no per-sample gradients kept:

    scores(v)_j = <v, grad_theta l_j(theta)> = d/dh l_j(theta + h v) at h = 0

Three exact engines: "ghost" (layer inputs and output gradients, capture.py; the layers listed there), "forward" (one
forward-mode derivative of the vector of losses; any differentiable layer that has forward AD) and "double_backward"
(the derivative of <v, grad sum_j s_j l_j> by the dummy weights s; everything else). v holds plain tensors: a curvature
product, a discrepancy's gradient, a validation gradient. Signs are the caller's: nothing is negated here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from refluence.errors import InputError
from refluence.influence.capture import capture, check_direction, check_frozen, cross_entropy
from refluence.influence.layers import Unsupported
from refluence.influence.losses import Targets, take

ENGINES = ("auto", "ghost", "forward", "double_backward")
CHUNK = 64

Parameters = dict[str, Tensor]
Losses = Callable[[Parameters, Any], Tensor]


def scores(
    model: nn.Module,
    x: Tensor,
    y: Targets,
    v: Parameters,
    *,
    engine: str = "auto",
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    chunk: int = CHUNK,
) -> Tensor:
    """<v, grad l_j> `(B,)` for inputs x `(B, ...)` (augmented already, if at all) and labels y `(B, ...)` or a tuple of
    tensors, as the loss takes them.

    `v`: parameter name -> tensor of its shape; missing names count as zero and cost nothing. `loss(model(x), y)` gives
    per-sample losses `(B,)`. "auto" takes ghost where every layer that v names is covered, else forward, else double
    backward. `chunk`: samples at a time, which bounds the memory. The model is left as it was.

    Raises `InputError` for unknown names or shapes in v and for a BatchNorm in train mode, `Unsupported` for
    engine="ghost" with a layer that it does not cover.
    """
    if engine not in ENGINES:
        raise InputError(f"unknown engine '{engine}': choose one of {', '.join(ENGINES)}")
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    check_direction(v, parameters)
    for label, module in model.named_modules():
        check_frozen(label, module)
    batches = [(x[i : i + chunk], take(y, slice(i, i + chunk))) for i in range(0, len(x), chunk)]
    if engine in ("auto", "ghost"):
        try:
            return torch.cat([capture(model, a, b, loss=loss, names=v, room=0).scores(v) for a, b in batches])
        except Unsupported:
            if engine == "ghost":
                raise

    def losses(p: Parameters, batch: tuple[Tensor, Targets]) -> Tensor:
        return loss(functional_call(model, p, (batch[0],)), batch[1])

    return directional(losses, parameters, v, batches, engine="auto" if engine == "ghost" else engine)


def directional(losses: Losses, params: Parameters, v: Parameters, batches: Iterable[Any], engine="auto") -> Tensor:
    """<v, grad l_j> `(N,)` for any user loss: `losses(params, batch) -> (n,)`, over all batches in their order.

    `params`: name -> tensor (detached here). `v` may name a subset. engine "auto" is forward mode, with double backward
    for a batch whose operations lack forward AD; "forward" and "double_backward" insist.
    """
    if engine not in ("auto", "forward", "double_backward"):
        raise InputError(f"unknown engine '{engine}': choose one of auto, forward, double_backward")
    params = {name: p.detach() for name, p in params.items()}
    check_direction(v, params)
    one = {"auto": _either, "forward": _forward, "double_backward": _double_backward}[engine]
    parts = [one(losses, params, v, batch) for batch in batches]
    if not parts:
        raise InputError("no samples to score: the batches are empty")
    return torch.cat(parts)


def _forward(losses: Losses, params: Parameters, v: Parameters, batch: Any) -> Tensor:
    """Forward mode: the tangent of the losses when the parameters named in v move along v."""
    moving = {name: params[name] for name in v}
    tangents = {name: t.detach().to(params[name].dtype) for name, t in v.items()}
    with torch.no_grad():
        return jvp(lambda p: losses({**params, **p}, batch), (moving,), (tangents,))[1]


def _double_backward(losses: Losses, params: Parameters, v: Parameters, batch: Any) -> Tensor:
    """d/ds_j <v, grad_theta sum_i s_i l_i>: linear in s, so any s will do."""
    moving = {name: params[name].clone().requires_grad_() for name in v}
    with torch.enable_grad():
        each = losses({**params, **moving}, batch)
        s = torch.ones_like(each, requires_grad=True)
        gradients = torch.autograd.grad((s * each).sum(), list(moving.values()), create_graph=True, allow_unused=True)
        dots = [(g * v[name].detach()).sum() for name, g in zip(moving, gradients, strict=True) if g is not None]
        if not dots:
            return torch.zeros_like(each).detach()
        return torch.autograd.grad(torch.stack(dots).sum(), s, materialize_grads=True)[0]


def _either(losses: Losses, params: Parameters, v: Parameters, batch: Any) -> Tensor:
    try:
        return _forward(losses, params, v, batch)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # no forward AD for some operation; a fault of the loss itself is raised again below
        return _double_backward(losses, params, v, batch)
