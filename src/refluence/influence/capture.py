"""One forward and one activation-backward of a batch, then any number of contractions of its per-sample gradients g_j:

    gradient(omega) = (1/B) sum_j omega_j g_j        scores(v)_j = <v, g_j>

Every layer keeps its input a_j and the gradient delta_j of the sum of the unweighted losses with respect to its
output. For a linear map, g_j = delta_j a_j^T, so <v, g_j> = <delta_j, layer(a_j; v)> (the "ghost" dot product) needs no
g_j at all. A matching step wants the mean gradient b, then scores with v = grad_2 D(a, b), then b_w = gradient(omega):
all three come from one pass here. The sharing is ours.

The rule of memory (ours): a layer keeps its per-sample weight gradients instead of a_j and delta_j where they are
smaller (biases, norms, the first convolution), or where many positions share one weight and there is room: then all
contractions are matrix-vector products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from refluence.errors import InputError
from refluence.influence.layers import Call, Piece, Room, Unsupported, pieces
from refluence.influence.losses import Targets, cross_entropy, take

CHUNK = 64  # samples per pass: bounds the activations that are held at once
ROOM = 2**29
_NORMS = (nn.GroupNorm, nn.LayerNorm, _InstanceNorm, _BatchNorm)
_LINEAR = (nn.Conv2d, nn.Linear)


class Capture:
    """What one pass over a batch left behind: `losses` `(B,)`, and what `gradient` and `scores` contract."""

    def __init__(self, parameters: dict[str, Tensor], losses: Tensor, chunks: list[list[Piece]], sizes: list[int]):
        self.losses = losses
        self._parameters = parameters
        self._chunks = chunks
        self._sizes = sizes

    def gradient(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """(1/B) sum_j omega_j g_j, by name. `weights` `(B,)` of mean 1; None: all ones."""
        if weights is not None and weights.shape != self.losses.shape:
            raise InputError(f"weights must have the shape {tuple(self.losses.shape)}, got {tuple(weights.shape)}")
        total: dict[str, Tensor] = {}
        start = 0
        for kept, size in zip(self._chunks, self._sizes, strict=True):
            w = None if weights is None else weights[start : start + size]
            start += size
            for piece in kept:
                parameter = self._parameters[piece.name]
                g = piece.gradient(w).view(parameter.shape).to(parameter.dtype)
                total[piece.name] = total[piece.name].add_(g) if piece.name in total else g
        n = len(self.losses)
        return {k: total[k].div_(n) if k in total else torch.zeros_like(p) for k, p in self._parameters.items()}

    def scores(self, v: dict[str, Tensor]) -> Tensor:
        """<v, g_j> for every j, `(B,)`. Names missing in v count as zero and cost nothing. At least float32."""
        check_direction(v, self._parameters)
        dtype = torch.promote_types(self.losses.dtype, torch.float32)  # bf16 has too few digits to rank instances
        parts = []
        for kept, size in zip(self._chunks, self._sizes, strict=True):
            part = torch.zeros(size, dtype=dtype, device=self.losses.device)
            for piece in kept:
                if piece.name in v:
                    part += piece.scores(v[piece.name])
            parts.append(part)
        return torch.cat(parts)


def capture(
    model: nn.Module,
    x: Tensor,
    y: Targets,
    *,
    loss: Callable[..., Tensor] = cross_entropy,
    names: Iterable[str] | None = None,
    chunk: int | None = None,
    room: int = ROOM,
) -> Capture:
    """Capture a batch x `(B, C, H, W)`, y `(B, ...)` or a tuple of such for the parameters in `names` (default: all).

    `loss(model(x), y)` gives per-sample losses `(B,)`. The batch is passed in chunks of `chunk` samples, so that
    activations stay in cache. `room`: bytes that per-sample weight gradients may take beyond where they are the smaller
    choice. Conv2d, Linear, GroupNorm, InstanceNorm, LayerNorm and BatchNorm in eval mode are covered; every call of a
    shared layer counts. The model is left as it was.

    The first axis of every layer's input must be the samples. Another number of rows is refused; an axis that happens to
    be as long as the batch cannot be told apart in one pass (`Scorer` tries other numbers of samples at its first use).

    Raises `Unsupported` (naming the layer) for other parametrised layers, never called ones and ones whose rows are not the
    samples, `InputError` for a BatchNorm in train mode.
    """
    parameters, wanted = watched(model, names)
    if len(x) == 0:
        raise InputError("capture needs at least one sample, got an empty batch")
    size = chunk or CHUNK
    losses, chunks = [], []
    budget = Room(room, len(x))
    with watch(wanted) as calls, torch.enable_grad():
        for start in range(0, len(x), size):
            calls.clear()
            part = x[start : start + size].detach()
            each = loss(model(part.requires_grad_() if part.is_floating_point() else part), take(y, slice(start, start + size)))
            if each.shape != part.shape[:1]:
                raise InputError(f"loss must return one value a sample, {tuple(part.shape[:1])}, got {tuple(each.shape)}")
            check_called(calls, wanted)
            check_rows(calls, wanted, len(part))
            deltas = torch.autograd.grad(each.sum(), [call.edge for call in calls], allow_unused=True)
            chunks.append([p for c, d in zip(calls, deltas, strict=True) if d is not None for p in pieces(c, d, budget)])
            losses.append(each.detach())
    return Capture(parameters, torch.cat(losses), chunks, [len(part) for part in losses])


# which layers, and what they saw


@dataclass(frozen=True)
class Watched:
    """A layer's name in the model and those of its parameters that count."""

    label: str
    names: dict[str, str]  # "weight" or "bias" -> the parameter's name in the model (tied weights share one)


def watched(model: nn.Module, names: Iterable[str] | None) -> tuple[dict[str, Tensor], dict[nn.Module, Watched]]:
    """The parameters in `names` (default: all), detached, and the layers that own them; `Unsupported` names one not covered."""
    every = {name: p for name, p in model.named_parameters()}
    chosen = list(every) if names is None else list(names)
    if not chosen:
        raise InputError("no parameter to capture: names is empty")
    for name in chosen:
        if name not in every:
            raise InputError(f"the model has no parameter '{name}': it has {', '.join(every)}")
    parameters = {name: every[name].detach() for name in every if name in set(chosen)}
    name_of = {id(every[name]): name for name in parameters}
    wanted = {}
    for label, module in model.named_modules():
        check_frozen(label, module)
        own = {k: name_of[id(p)] for k, p in module._parameters.items() if p is not None and id(p) in name_of}
        if not own:
            continue
        kind = next((k for k in _LINEAR + _NORMS if isinstance(module, k)), None)
        if kind is None or type(module).forward is not _forward(kind):
            what = f"'{label or 'the model itself'}' ({type(module).__name__})"
            raise Unsupported(f"layer {what} has parameters that the ghost method does not cover: use engine 'forward'")
        wanted[module] = Watched(label, own)
    return parameters, wanted


def check_direction(v: dict[str, Tensor], parameters: dict[str, Tensor]) -> None:
    """Raise `InputError` unless v names parameters, at least one, and has their shapes."""
    if not v:
        raise InputError(f"the direction v is empty: name at least one of {', '.join(parameters)}")
    for name, tensor in v.items():
        if name not in parameters:
            raise InputError(f"the direction v has '{name}', which is not among {', '.join(parameters)}")
        if tensor.shape != parameters[name].shape:
            want = tuple(parameters[name].shape)
            raise InputError(f"v['{name}'] must have the shape {want}, got {tuple(tensor.shape)}")


def check_frozen(label: str, module: nn.Module) -> None:
    """Raise `InputError` when a layer mixes the samples of a batch or would move its buffers."""
    if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
        raise InputError(
            f"layer '{label}' normalises with the statistics of its batch, so samples have no gradient of their own: "
            "call model.eval() (with running statistics) first"
        )
    if isinstance(module, _InstanceNorm) and module.training and module.track_running_stats:
        raise InputError(f"layer '{label}' would update its running statistics: call model.eval() first")


def check_called(calls: list[Call], wanted: dict[nn.Module, Watched]) -> None:
    """Raise `Unsupported` when one of the layers was never called."""
    missing = wanted.keys() - {call.module for call in calls}
    if missing:
        raise Unsupported(f"layer '{min(wanted[m].label for m in missing)}' is never called: leave it out of names")


def check_rows(calls: list[Call], wanted: dict[nn.Module, Watched], samples: int) -> None:
    """Raise `Unsupported` unless the first axis of every call's input has as many rows as there are samples."""
    for call in calls:
        if len(call.a) != samples:
            what = f"layer '{wanted[call.module].label}' sees {len(call.a)} rows for {samples} samples"
            raise Unsupported(f"{what}: use engine 'forward'")


def _forward(kind: type) -> Any:
    return kind.forward


@contextmanager
def watch(wanted: dict[nn.Module, Watched]) -> Iterator[list[Call]]:
    """While open, the list of the calls of these layers, in their order."""
    calls: list[Call] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        a = args[0].detach()
        edge = get_gradient_edge(out) if torch.is_grad_enabled() else None
        calls.append(Call(module, wanted[module].names, a, a._version, edge))

    handles = [module.register_forward_hook(keep) for module in wanted]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
