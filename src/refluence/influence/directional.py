"""The one primitive of every influence here, for every sample j of a batch in one pass, no per-sample gradients kept:

    scores(v)_j = <v, grad_theta l_j(theta)> = d/dh l_j(theta + h v) at h = 0

Four exact engines: "ghost" (layer inputs and output gradients, ghost.py; the layers that capture.py lists), "forward" (one
forward-mode derivative of the vector of losses; any differentiable layer that has forward AD), "double_backward" (the
derivative of <v, grad sum_j s_j l_j> by the dummy weights s) and "single" (the gradient of one instance after the other, for
what only plain autograd can do). v holds plain tensors: a curvature product, a discrepancy's gradient, a validation gradient.
Signs are the caller's: nothing is negated here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.functional import call_at, jvp
from refluence.influence.batches import at_once, check_fixed, check_tensors
from refluence.influence.differentiable import Losses
from refluence.influence.engines import ENGINES, PRECISIONS, Choice
from refluence.influence.fused import Fused
from refluence.influence.ghost import Ghost
from refluence.influence.layers import Unsupported
from refluence.influence.losses import Loss, cross_entropy, take
from refluence.influence.parameters import Parameters, check_direction, parameters_of
from refluence.influence.proof import believed, key_of, reached, remembered
from refluence.influence.structure import signature
from refluence.influence.truth import PROBES, Truth, finer, single, truth
from refluence.influence.watching import check_layers, outside, watched
from refluence.matching.statistics import Targets

B = TypeVar("B")
LossesAt = Callable[[Parameters, B], Tensor]
"""Values of the parameters, and a batch, to the loss of each instance `(n,)`."""
Pass = Callable[[Parameters, Parameters, Tensor, Targets], Tensor]
"""(parameters and buffers, v, x, y) to <v, grad l_j> `(n,)`."""


class Scorer:
    """`scorer(x, y, v)`: <v, grad l_j> `(B,)` of a model as it is at the time of the call; to be used again and again.

    Data larger than memory goes through it piece by piece: the score of a sample does not depend on the others, and what is
    held beside x does not depend on their number.

    engine: "auto" takes the first of ghost, forward, double_backward and single whose scores of four instances are those of
    autograd (proof.py: asked once for each structure of the network). Another takes that one or raises `Unsupported`.
    chunk: samples at a time, which bounds the memory (default: 64, on the CPU fewer of large images and in wide layers).
    compile: each chunk's pass is traced and compiled, once for a set of names in v, a shape of x and a mode (train, eval) of
    the layers; other values of v and of the parameters, and other numbers of samples, use the same compilation. Worth its
    time (tens of seconds) from some thousand samples on. A forward that branches on values keeps the branch of the first call.
    The engine single is never compiled.
    precision: "fp32" is the dtype of the model; "bf16" runs the derivative's products of the ghost engine in bfloat16 (see
    ghost.py; the other engines of "auto" stay at the model's dtype).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Loss = cross_entropy,
        engine: str = "auto",
        chunk: int | None = None,
        compile: bool = False,
        precision: str = "fp32",
    ):
        for what, value, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
            if value not in known:
                raise InputError(f"unknown {what} '{value}': choose one of {', '.join(known)}")
        if chunk is not None and chunk < 1:
            raise InputError(f"the chunk is {chunk} samples: it must be at least 1")
        if precision == "bf16" and engine not in ("auto", "ghost"):
            raise InputError(f"precision bf16 is for the engine ghost, not '{engine}': leave precision at fp32")
        self.model, self.loss, self.engine, self.chunk = model, loss, engine, chunk
        self.compile, self.half = compile, precision == "bf16"
        self._losses = Losses(model, loss)
        self._passes: dict[Hashable, Pass] = {}

    def __call__(self, x: Tensor, y: Targets, v: Parameters) -> Tensor:
        """<v, grad l_j> `(B,)` for inputs x `(B, ...)` (augmented already, if at all) and targets y: a tensor `(B, ...)` or a
        tuple of such, whatever `loss(model(x), y) -> (B,)` takes.

        `v`: parameter name -> tensor of its shape, taken to its dtype and device (x and y must be on the model's already);
        missing names count as zero and cost nothing. The model is left as it was.

        Raises `InputError` for unknown names or shapes in v, a loss that is not per sample, no samples, and a network that
        draws at random or whose samples see each other (dropout that is on, BatchNorm in train mode); `Unsupported` for an
        engine asked for by name whose scores are not those of autograd; `RunError` where compiling fails.
        """
        return self._called(x, y, v, None)

    def with_losses(self, x: Tensor, y: Targets, v: Parameters) -> tuple[Tensor, Tensor]:
        """What a call gives, and the losses `(B,)`, by the engine ghost from the same forward pass (unless it is compiled)."""
        kept: list[Tensor] = []
        found = self._called(x, y, v, kept)
        if not kept:
            with torch.no_grad():
                return found, self._losses(x, y)
        return found, torch.cat(kept)[: len(x)]

    def _called(self, x: Tensor, y: Targets, v: Parameters, kept: list[Tensor] | None) -> Tensor:
        state = parameters_of(self.model)
        check_direction(v, state)
        check_fixed(self.model)
        check_tensors(x, y)
        if len(x) == 0:
            raise InputError("no samples to score: x is empty")
        v = {name: v[name].detach().to(p) for name, p in state.items() if name in v}
        state |= dict(self.model.named_buffers())
        choice = self.choice(x, y, v)
        try:
            return self._scores(choice, state, v, x, y, kept)
        except Unsupported as why:  # what only these samples show: a layer's weight that is used elsewhere for some
            if self.engine != "auto" or choice.engine != "ghost":
                raise
            if kept is not None:
                kept.clear()
            return self._scores(self._chosen(ENGINES[2:], x, y, tuple(v), str(why)), state, v, x, y)

    def _scores(
        self, choice: Choice, state: Parameters, v: Parameters, x: Tensor, y: Targets, kept: list[Tensor] | None = None
    ) -> Tensor:
        """`kept` gets the losses too, where the pass can say them."""
        size = self.chunk or at_once(x, widest=0 if self.compile else choice.widest)
        one, found, ghost = self._pass(choice, tuple(v), x, y, size), [], None
        if kept is not None and choice.engine == "ghost" and not self.compile:
            ghost = Ghost(self.model, self.loss, tuple(v), self.half, choice.shared)
        for start in range(0, len(x), size):
            part: slice | Tensor = slice(start, start + size)
            if choice.paired and start + 1 in (len(x), start + size):  # a sample by itself sees itself beside it
                part = torch.tensor([start, start], device=x.device)
            some = x[part], take(y, part)
            found.append((one(state, v, *some) if ghost is None else ghost(v, *some, kept))[:size])
            if ghost is not None and kept is not None:
                kept[-1] = kept[-1][:size]
        return torch.cat(found)[: len(x)]

    def choice(self, x: Tensor, y: Targets, names: Iterable[str]) -> Choice:
        """The engine that a call along the parameters in `names` takes for such inputs. Raises as a call does."""
        return self._chosen(ENGINES[1:] if self.engine == "auto" else (self.engine,), x, y, tuple(names))

    def _chosen(self, allowed: Sequence[str], x: Tensor, y: Targets, names: tuple[str, ...], reason: str = "") -> Choice:
        if x.is_meta:  # no numbers to compare
            return Choice(allowed[0] if len(allowed) == 1 else "forward", "")
        key = key_of(("scores", allowed, self.compile), self.model, names, self.loss, x, y)
        found = remembered(key, lambda: self._first(allowed, names, x, y), self.model)
        return replace(found, reason=reason or found.reason)

    def _first(self, allowed: Sequence[str], names: tuple[str, ...], x: Tensor, y: Targets) -> tuple[Choice, bool | None]:
        """The first engine that agrees with autograd, and whether it is to be asked again."""
        with finer(self.model, x, y) as fine:
            return self._first_of(allowed, names, *fine)

    def _first_of(self, allowed: Sequence[str], names: tuple[str, ...], x: Tensor, y: Targets) -> tuple[Choice, bool | None]:
        want, reason = truth(self.model, self.loss, names, x, y), ""
        few = (x[:PROBES], take(y, slice(PROBES))) if want is None else (want.x, want.y)
        for engine in allowed:
            try:
                shared, widest = self._prove(engine, names, *few, want)
            except Unsupported as why:
                if engine == allowed[-1]:
                    raise
                reason = reason or str(why)
            else:
                break
        return Choice(engine, reason, want is not None and want.paired, shared, widest), None if want is None else bool(
            want.silent
        )

    def _prove(
        self, engine: str, names: tuple[str, ...], x: Tensor, y: Targets, want: Truth | None
    ) -> tuple[frozenset[str], int]:
        """Raise `Unsupported` unless an engine runs, and gives what autograd does (None: not known, nothing finite).

        Returns the embeddings that are shared by the samples, and the numbers of a sample in the widest layer that is read.
        """
        state = parameters_of(self.model)
        zeros = {name: torch.zeros_like(state[name]) for name in names}
        state |= dict(self.model.named_buffers())
        if (self.compile if engine == "ghost" else engine != "single") and not reached(self.model, self.loss, names, x, y):
            raise Unsupported("a parameter is not read from its module alone, or the network gives it other values")
        shared, widest = frozenset[str](), 0
        if engine == "ghost":
            shared, widest = believed(lambda: check_layers(self.model, watched(self.model, names)[1], x))
        one = believed(lambda: self._made(engine, names, False, shared))

        if want is None:
            believed(lambda: one(state, zeros, x, y))
            return shared, widest
        if wrong := want.wrong_scores(lambda v: believed(lambda: one(state, {**zeros, **v}, x, y))):
            raise Unsupported(outside(wrong[0]) if engine == "ghost" else f"engine '{engine}' is wrong for '{wrong[0]}'")
        return shared, widest

    def _pass(self, choice: Choice, names: tuple[str, ...], x: Tensor, y: Targets, size: int) -> Pass:
        """`(state, v, x, y) -> (n,)` of an engine; compiled at its first use for a structure."""
        made = self._made(choice.engine, names, self.half, choice.shared)
        if not self.compile or choice.engine == "single":
            return made
        key = (choice.engine, choice.shared, x.shape[1:], signature(self.model, names, self.loss, x, y))
        if key not in self._passes:
            self._passes[key] = Fused(made, size)
        return self._passes[key]

    def _made(self, engine: str, names: tuple[str, ...], half: bool, shared: frozenset[str]) -> Pass:
        if engine == "ghost":
            return self._ghost(names, half, shared)
        if engine == "single":
            return lambda state, v, x, y: single(self._losses, v, x, y)
        derivative = _forward if engine == "forward" else _double_backward

        def losses(p: Parameters, batch: tuple[Tensor, Targets]) -> Tensor:
            return self._losses.at(p, *batch)

        return lambda state, v, x, y: derivative(losses, state, v, (x, y))

    def _ghost(self, names: tuple[str, ...], half: bool, shared: frozenset[str]) -> Pass:
        ghost = Ghost(self.model, self.loss, names, half, shared)
        if not self.compile:
            return lambda state, v, x, y: ghost(v, x, y)

        def one(state: Parameters, v: Parameters, x: Tensor, y: Targets) -> Tensor:
            moved = {f"model.{k}": t if x.is_floating_point() else _watchable(t) for k, t in state.items()}
            return call_at(ghost, moved, v, x, y)

        return one


def scores(
    model: nn.Module,
    x: Tensor,
    y: Targets,
    v: Parameters,
    *,
    engine: str = "auto",
    loss: Loss = cross_entropy,
    chunk: int | None = None,
    compile: bool = False,
    precision: str = "fp32",
) -> Tensor:
    """<v, grad l_j> for every instance of a batch in one call; several calls are faster with one `Scorer`.

    Args:
        model: any network in which instances do not see each other (`eval()` where it has batch norm or dropout).
        x: inputs `(B, ...)`, on the model's device.
        y: targets `(B, ...)`, or a tuple of such, as `loss` takes them.
        v: parameter name -> tensor of its shape; missing names count as zero.
        engine: "auto", or one of ghost, forward, double_backward and single.
        loss: `loss(model(x), y)` gives losses `(B,)`.
        chunk: instances at a time, which bounds the memory (default: 64, on the CPU fewer of large images and in wide layers).
        compile: compile the pass; worth its time from some thousand instances on.
        precision: "fp32" (the model's own), or "bf16" for the products of the ghost engine.

    Returns:
        `(B,)`, in the units of the loss: how much each l_j rises for a unit step of the parameters along v. With v = grad_2 D
        it is the explicit influence of IWD (arXiv 2510.27253, eq. 24).

    Raises:
        InputError: names or shapes of v that the model has not, a loss that is not `(B,)`, a network whose instances have no
            gradient of their own.
        Unsupported: an engine asked for by name whose numbers are not those of autograd.
        RunError: compiling fails.

    Example:
        >>> import torch
        >>> from refluence import scores
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> scores(model, x, y, {"bias": torch.tensor([1.0, 0.0, 0.0])}).shape
        torch.Size([4])
    """
    return Scorer(model, loss=loss, engine=engine, chunk=chunk, compile=compile, precision=precision)(x, y, v)


def directional(losses: LossesAt[B], params: Parameters, v: Parameters, batches: Iterable[B], engine: str = "auto") -> Tensor:
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


def _forward(losses: LossesAt[B], params: Parameters, v: Parameters, batch: B) -> Tensor:
    """Forward mode: the tangent of the losses when the parameters named in v move along v."""
    moving = {name: params[name] for name in v}
    with torch.no_grad():
        return jvp(lambda p: losses({**params, **p}, batch), (moving,), (v,))[1]


def _double_backward(losses: LossesAt[B], params: Parameters, v: Parameters, batch: B) -> Tensor:
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


def _either(losses: LossesAt[B], params: Parameters, v: Parameters, batch: B) -> Tensor:
    try:
        return _forward(losses, params, v, batch)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # no forward AD for some operation; a fault of the loss itself is raised again below
        return _double_backward(losses, params, v, batch)


def _watchable(t: Tensor) -> Tensor:
    """For inputs that have no gradient (tokens): the graph begins at the parameters."""
    return t.detach().requires_grad_() if t.is_floating_point() else t
