"""The one primitive of every influence here, for every sample j of a batch in one pass, no per-sample gradients kept:

    scores(v)_j = <v, grad_theta l_j(theta)> = d/dh l_j(theta + h v) at h = 0

Three exact engines: "ghost" (layer inputs and output gradients, ghost.py; the layers that capture.py lists), "forward" (one
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

from refluence.errors import InputError, RunError
from refluence.influence.batches import check_fixed
from refluence.influence.capture import check_direction, cross_entropy
from refluence.influence.fused import Fused
from refluence.influence.ghost import Ghost
from refluence.influence.layers import Unsupported
from refluence.influence.losses import Targets, take
from refluence.influence.parameters import Parameters, parameters_of
from refluence.influence.risk import per_sample

ENGINES = ("auto", "ghost", "forward", "double_backward")
PRECISIONS = ("fp32", "bf16")
CHUNK = 64

Losses = Callable[[Parameters, Any], Tensor]


class Scorer:
    """`scorer(x, y, v)`: <v, grad l_j> `(B,)` of a model as it is at the time of the call; to be used again and again.

    Data larger than memory goes through it piece by piece: the score of a sample does not depend on the others, and what is
    held beside x does not depend on their number.

    engine: "auto" takes ghost where every layer that v names is covered, else forward, else double backward.
    chunk: samples at a time, which bounds the memory.
    compile: each chunk's pass is traced and compiled, once for a set of names in v, a shape of x and a mode (train, eval) of
    the layers; other values of v and of the parameters, and other numbers of samples, use the same compilation. Worth its
    time (tens of seconds) from some thousand samples on. A forward that branches on values keeps the branch of the first call.
    precision: "fp32" is the dtype of the model; "bf16" runs the derivative's products of the ghost engine in bfloat16 (see
    ghost.py; the other engines of "auto" stay at the model's dtype).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Callable[..., Tensor] = cross_entropy,
        engine: str = "auto",
        chunk: int = CHUNK,
        compile: bool = False,
        precision: str = "fp32",
    ):
        for what, value, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
            if value not in known:
                raise InputError(f"unknown {what} '{value}': choose one of {', '.join(known)}")
        if chunk < 1:
            raise InputError(f"the chunk is {chunk} samples: it must be at least 1")
        if precision == "bf16" and engine not in ("auto", "ghost"):
            raise InputError(f"precision bf16 is for the engine ghost, not '{engine}': leave precision at fp32")
        self.model, self.loss, self.engine, self.chunk = model, loss, engine, chunk
        self.compile, self.half = compile, precision == "bf16"
        self._passes: dict[Any, Callable[..., Tensor]] = {}
        self._found: dict[tuple[str, ...], str] = {}

    def __call__(self, x: Tensor, y: Targets, v: Parameters) -> Tensor:
        """<v, grad l_j> `(B,)` for inputs x `(B, ...)` (augmented already, if at all) and targets y: a tensor `(B, ...)` or a
        tuple of such, whatever `loss(model(x), y) -> (B,)` takes.

        `v`: parameter name -> tensor of its shape, taken to its dtype and device (x and y must be on the model's already);
        missing names count as zero and cost nothing. The model is left as it was.

        Raises `InputError` for unknown names or shapes in v, a loss that is not per sample, no samples, BatchNorm in train
        mode and active dropout; `Unsupported` for engine "ghost" with a layer that it does not cover or whose input's first
        axis is not the samples; `RunError` where compiling fails.
        """
        state = parameters_of(self.model)
        check_direction(v, state)
        check_fixed(self.model)
        if len(x) == 0:
            raise InputError("no samples to score: x is empty")
        v = {name: v[name].detach().to(p) for name, p in state.items() if name in v}
        state |= dict(self.model.named_buffers())
        starts = range(0, len(x), self.chunk)
        parts = [slice(i, i + self.chunk) for i in starts]
        return torch.cat([self._one(state, v, x[part], take(y, part)) for part in parts])

    def _one(self, state: Parameters, v: Parameters, x: Tensor, y: Targets) -> Tensor:
        """One chunk, by the first engine that can."""
        names = tuple(v)
        first = self._found.get(names, self.engine)
        if first != "auto":
            return self._pass(first, names, x, y)(state, v, x, y)
        for engine in ENGINES[1:]:
            try:
                found = self._pass(engine, names, x, y)(state, v, x, y)
            except (torch.OutOfMemoryError, RunError):
                raise
            except (Unsupported, RuntimeError) as e:
                expected = Unsupported if engine == "ghost" else RuntimeError
                if engine == ENGINES[-1] or not isinstance(e, expected):
                    raise
            else:
                self._found[names] = engine
                return found

    def _pass(self, engine: str, names: tuple[str, ...], x: Tensor, y: Targets) -> Callable[..., Tensor]:
        """`(state, v, x, y) -> (n,)` of an engine, made at its first use."""
        key: Any = (engine, names)
        if self.compile:
            kinds = tuple((t.shape[1:], t.dtype, t.device) for t in (x, *(y if isinstance(y, (tuple, list)) else [y])))
            key = (*key, kinds, tuple(module.training for module in self.model.modules()))
        if key not in self._passes:
            made = self._ghost(names, x) if engine == "ghost" else self._by_losses(engine)
            self._passes[key] = Fused(made, self.chunk) if self.compile else made
        return self._passes[key]

    def _ghost(self, names: tuple[str, ...], x: Tensor) -> Callable[..., Tensor]:
        ghost = Ghost(self.model, self.loss, names, self.half)
        ghost.check(x)
        if not self.compile:
            return lambda state, v, x, y: ghost(v, x, y)

        def one(state: Parameters, v: Parameters, x: Tensor, y: Targets) -> Tensor:
            moved = {f"model.{k}": t if x.is_floating_point() else _watchable(t) for k, t in state.items()}
            return functional_call(ghost, moved, (v, x, y))

        return one

    def _by_losses(self, engine: str) -> Callable[..., Tensor]:
        def losses(p: Parameters, batch: tuple[Tensor, Targets]) -> Tensor:
            return per_sample(self.loss(functional_call(self.model, p, (batch[0],)), batch[1]), len(batch[0]))

        derivative = _forward if engine == "forward" else _double_backward
        return lambda state, v, x, y: derivative(losses, state, v, (x, y))


def scores(
    model: nn.Module,
    x: Tensor,
    y: Targets,
    v: Parameters,
    *,
    engine: str = "auto",
    loss: Callable[..., Tensor] = cross_entropy,
    chunk: int = CHUNK,
    compile: bool = False,
    precision: str = "fp32",
) -> Tensor:
    """<v, grad l_j> `(B,)` in one call; see `Scorer`, which is to be preferred where there are several."""
    return Scorer(model, loss=loss, engine=engine, chunk=chunk, compile=compile, precision=precision)(x, y, v)


def directional(losses: Losses, params: Parameters, v: Parameters, batches: Iterable[Any], engine="auto") -> Tensor:
    """<v, grad l_j> `(N,)` for any user loss: `losses(params, batch) -> (n,)`, over all batches in their order.

    `params`: name -> tensor (detached here). `v` may name a subset. engine "auto" is forward mode, with double backward
    for a batch whose operations lack forward AD; "forward" and "double_backward" insist.
    """
    if engine not in ("auto", "forward", "double_backward"):
        raise InputError(f"unknown engine '{engine}': choose one of auto, forward, double_backward")
    params = {name: p.detach() for name, p in params.items()}
    check_direction(v, params)
    v = {name: t.detach().to(params[name]) for name, t in v.items()}
    one = {"auto": _either, "forward": _forward, "double_backward": _double_backward}[engine]
    parts = [one(losses, params, v, batch) for batch in batches]
    if not parts:
        raise InputError("no samples to score: the batches are empty")
    return torch.cat(parts)


def _forward(losses: Losses, params: Parameters, v: Parameters, batch: Any) -> Tensor:
    """Forward mode: the tangent of the losses when the parameters named in v move along v."""
    moving = {name: params[name] for name in v}
    with torch.no_grad():
        return jvp(lambda p: losses({**params, **p}, batch), (moving,), (v,))[1]


def _double_backward(losses: Losses, params: Parameters, v: Parameters, batch: Any) -> Tensor:
    """d/ds_j <v, grad_theta sum_i s_i l_i>: linear in s, so any s will do."""
    moving = {name: params[name].clone().requires_grad_() for name in v}
    with torch.enable_grad():
        each = losses({**params, **moving}, batch)
        s = torch.ones_like(each, requires_grad=True)
        gradients = torch.autograd.grad((s * each).sum(), list(moving.values()), create_graph=True, allow_unused=True)
        dots = [(g * v[name]).sum() for name, g in zip(moving, gradients, strict=True) if g is not None]
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


def _watchable(t: Tensor) -> Tensor:
    """For inputs that have no gradient (tokens): the graph begins at the parameters."""
    return t.detach().requires_grad_() if t.is_floating_point() else t
