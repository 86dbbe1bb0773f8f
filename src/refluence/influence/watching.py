"""Which layers of a network the ghost method reads, and what they saw in one pass: their calls, in order.

A layer is covered where its parameters act only in its own call: out = layer(a; weight, bias), with the class's own forward
(a small layer may have another: small_layers.py). A weight that is used elsewhere too is seen in the graph of every pass; what
cannot be seen there is left to proof.py.

Embeddings of positions see the same ids `(1, L)` or `(L,)` for all samples. They are *shared*: their output is repeated for
every sample before it goes on, so that each has an output gradient of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from refluence.errors import InputError
from refluence.influence.differentiable import plain_kernels
from refluence.influence.fixed_norm import lighter
from refluence.influence.layers import NORMS, Call, Unsupported, hub_conv1d
from refluence.influence.small_layers import is_small

_KINDS = (nn.Conv2d, nn.Linear, nn.Embedding, *NORMS)
_OWN = ("forward", "_conv_forward", "__call__", "_call_impl", "_wrapped_call_impl")


@dataclass(frozen=True)
class Watched:
    """A layer's name in the model and those of its parameters that count. `shared`: an embedding of the same ids for all."""

    label: str
    names: dict[str, str]  # "weight" or "bias" -> the parameter's name in the model (tied weights share one)
    shared: bool = False


def watched(
    model: nn.Module, names: Iterable[str] | None, shared: frozenset[str] = frozenset()
) -> tuple[dict[str, Tensor], dict[nn.Module, Watched]]:
    """The parameters in `names` (default: all), detached, and the layers that own them; `Unsupported` names one not covered.

    `shared`: the labels of embeddings that see the same ids for all samples (`check_layers` finds them).
    """
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
        if (why := _uncovered(module, own)) is not None:
            what = f"'{label or 'the model itself'}' ({type(module).__name__})"
            raise Unsupported(f"layer {what} {why}")
        wanted[module] = Watched(label, own, label in shared)
    return parameters, wanted


def _uncovered(module: nn.Module, own: dict[str, str]) -> str | None:
    """Why the parameters in `own` do not act as in a plain call of a covered layer; None where they do."""
    kinds = _KINDS if (conv1d := hub_conv1d()) is None else (*_KINDS, conv1d)
    kind = next((k for k in kinds if isinstance(module, k)), None)
    if kind is None:
        return None if is_small(module) else "has parameters that the ghost method does not cover"
    if isinstance(module, nn.Embedding) and module.max_norm is not None:
        return "rewrites its weight in every call (max_norm)"
    for method in _OWN:
        if method in vars(module) or getattr(type(module), method, None) is not getattr(kind, method, None):
            return f"has parameters that the ghost method does not cover, in a {method} of its own"
    odd = [key for key in own if key not in ("weight", "bias")]
    if odd:  # pruning, weight norm and spectral norm of the old style compute the weight from it before each call
        return f"does not use its parameter '{odd[0]}' as it is: its weight is computed from it"
    return None


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
        if call.a.dim() == 0 or len(call.a) != samples:
            rows = len(call.a) if call.a.dim() else "no"
            what = f"layer '{wanted[call.module].label}' sees {rows} rows for {samples} samples"
            raise Unsupported(f"{what}")


@torch.no_grad()
def check_layers(model: nn.Module, wanted: dict[nn.Module, Watched], x: Tensor) -> tuple[frozenset[str], int]:
    """Raise `Unsupported` for a layer whose first axis is not the samples of x, in their order.

    Returns the labels of the embeddings that are shared, and the numbers of a sample in the layer that sees most of them.

    It must follow 1 and 2 samples alike (one number would not do: time first in `(T, n, ...)` looks like samples at n = T),
    and turn round with them (rows that a network sorts do so in only one of two orders). An embedding that sees the same ids
    whatever the number of samples is shared.
    """

    def calls_of(*rows: int) -> list[Call]:
        with watch(wanted) as calls, plain_kernels(model):
            model(x[[row % len(x) for row in rows]])
        return calls

    pair = calls_of(0, 1)
    try:
        few, rows = calls_of(0), 1
    except (RuntimeError, IndexError, ValueError):  # it takes no batch of one, and is given none
        few, rows = calls_of(0, 1, 2), 3
    both = list(zip(pair, few, strict=False))
    shared = {one.module for one, other in both if isinstance(one.module, nn.Embedding) and torch.equal(one.a, other.a)}
    for calls, samples in ((few, rows), (pair, 2)):
        check_rows([call for call in calls if call.module not in shared], wanted, samples)
    for one, other in zip(pair, calls_of(1, 0), strict=False):
        if one.module in shared:
            if not torch.equal(one.a, other.a) or len(one.a) != (1 if one.a.dim() > 1 else one.a.numel()):
                raise Unsupported(f"layer '{wanted[one.module].label}' sees ids that are neither of samples nor of positions")
        elif not torch.allclose(one.a.flip(0), other.a, rtol=1e-3, atol=1e-5 * float(one.a.abs().max()), equal_nan=True):
            raise Unsupported(f"layer '{wanted[one.module].label}' sees the samples in another order")
    widest = max((call.a.numel() // 2 for call in pair if call.module not in shared), default=0)
    return frozenset(wanted[module].label for module in shared), widest


def output_gradients(
    each: Tensor, calls: list[Call], wanted: dict[nn.Module, Watched], unread: Collection[int] = ()
) -> list[tuple[Call, Tensor]]:
    """The calls that the losses `each` `(n,)` depend on, with the gradient of their sum by the layer's output.

    `unread`: the `id` of calls that are left out.

    A call under `no_grad` has none. One that the backward pass makes (checkpointing) is refused where the first one was
    under `no_grad`: what it computed is gone.
    """
    edges = [(call, call.edge) for call in calls if call.edge is not None]
    seen = [call for call, _ in edges]
    blind = {call.module for call in calls} - {call.module for call in seen}
    before = len(calls)
    if not seen or not each.requires_grad:
        return []
    check_inside(each, seen, wanted)
    read = [(call, edge) for call, edge in edges if id(call) not in unread]
    found = torch.autograd.grad(each.sum(), [edge for _, edge in read], allow_unused=True)
    again = {call.module for call in calls[before:]} & blind
    if again:
        label = min(wanted[module].label for module in again)
        raise Unsupported(f"layer '{label}' is called again in the backward pass (checkpointing)")
    return [(call, delta) for (call, _), delta in zip(read, found, strict=True) if delta is not None]


def check_inside(each: Tensor, calls: list[Call], wanted: dict[nn.Module, Watched]) -> None:
    """Raise `Unsupported` where the losses reach a watched parameter otherwise than through a call of its layer."""
    ends = {}
    for module, watched in wanted.items():
        for kind, name in watched.names.items():
            p = module._parameters[kind]
            if isinstance(p, nn.Parameter) and p.requires_grad and p.is_leaf:
                ends[get_gradient_edge(p).node] = name
    read = [(call.edge.node, call.below) for call in calls if call.edge is not None]
    inside = {edge for node, below in read for edge, end in edges_below(node, below) if end in ends}
    for edge, end in edges_below(each.grad_fn):
        if end in ends and edge not in inside:
            raise Unsupported(outside(ends[end]))


def edges_below(start: Node | None, stop: Node | None = None) -> Iterator[tuple[tuple[Node, int], Node]]:
    """((node, slot), following) of the graph from a node on, not beyond another."""
    seen, ahead = {stop}, [start]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for slot, (following, _) in enumerate(node.next_functions):
            if following is not None:
                yield (node, slot), following
                ahead.append(following)


def outside(name: str) -> str:
    """What is wrong where a parameter's gradient is not that of its layer's calls."""
    layer = name.rpartition(".")[0] or "the model itself"
    return (
        f"layer '{layer}': the gradient of '{name}' is not that of its calls (it is used elsewhere too: in another layer, a "
        "hook, a function, the loss or a checkpoint)"
    )


@contextmanager
def watch(wanted: dict[nn.Module, Watched], samples: int = 0) -> Iterator[list[Call]]:
    """While open, the list of the calls of these layers, in their order: as the layer itself gave them, before other hooks.

    `samples`: how many rows a shared embedding has instead of one.
    """
    calls: list[Call] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], out: Tensor) -> Tensor | None:
        given = args[0] if args else next(iter(kwargs.values()))
        a = given.detach()
        graph, repeated = torch.is_grad_enabled(), samples > 0 and wanted[module].shared
        if repeated:
            a, out = (_repeated(t, a.dim() == 1, samples) for t in (a, out))
        if graph and not out.requires_grad:
            label = wanted[module].label
            raise Unsupported(f"layer '{label}' is frozen and sees an input without a graph")
        before, out = out, lighter(module, given, out) if graph else out
        edge = get_gradient_edge(out) if graph else None
        calls.append(Call(module, wanted[module].names, a, a._version, edge, given.grad_fn, given, out._version))
        return None if out is before and not repeated else out

    handles = [module.register_forward_hook(keep, prepend=True, with_kwargs=True) for module in wanted]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _repeated(t: Tensor, bare: bool, samples: int) -> Tensor:
    """`(L, ...)` (bare) or `(1, L, ...)` as `(samples, L, ...)`; what is neither has rows that no caller takes."""
    if bare:
        t = t[None]
    return t.expand(samples, *t.shape[1:]) if len(t) == 1 else t
