"""An engine is believed for a network once its numbers are those of autograd, instance by instance (truth.py).

Asked once for each structure (structure.py) and process. A parameter whose gradient is nought at the probe proves nothing:
then the question is put again at the 2nd, 4th, 8th, ... call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.influence.differentiable import Losses, leaves
from refluence.influence.layers import Unsupported
from refluence.influence.losses import Targets, take
from refluence.influence.structure import signature
from refluence.influence.truth import PROBES, close, gradient, gradient_apart, narrowest

REMEMBERED = 256  # structures
_answers: OrderedDict[Hashable, _Answer] = OrderedDict()


@dataclass
class _Answer:
    value: Any
    silent: bool  # a parameter had no gradient at the probe
    calls: int = 1

    def due(self) -> bool:
        """Whether a silent answer is to be asked for again at this call."""
        self.calls += 1
        return self.silent and self.calls & (self.calls - 1) == 0


def remembered(key: Hashable, ask: Callable[[], tuple[Any, bool]], model: nn.Module) -> Any:
    """`ask()[0]`, asked once for a key (again now and then while `ask()[1]`); an `Unsupported` or `InputError` is kept too.

    While it is asked, products have the digits of their type, and neither random numbers nor buffers move for good.
    """
    held = _answers.get(key)
    if held is None or held.due():
        try:
            with _untouched(model):
                value, silent = ask()
        except (Unsupported, InputError) as error:
            value, silent = error.with_traceback(None), False
        _answers[key] = held = _Answer(value, silent, 1 if held is None else held.calls)
        while len(_answers) > REMEMBERED:
            _answers.popitem(last=False)
    _answers.move_to_end(key)
    if isinstance(held.value, (Unsupported, InputError)):
        raise type(held.value)(*held.value.args)
    return held.value


def forget() -> None:
    """Ask anew from here on."""
    _answers.clear()


def key_of(what: Hashable, model: nn.Module, names: Sequence[str], loss: Callable[..., Any], x: Tensor, y: Targets) -> Hashable:
    """The key of a question about a network: its structure, and how many instances can be asked."""
    return what, min(len(x), PROBES), signature(model, names, loss, x, y)


def believed(engine: Callable[[], Any]) -> Any:
    """What an engine gives; whatever else than memory stops it is a reason not to take it: `Unsupported`."""
    try:
        return engine()
    except (Unsupported, InputError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise Unsupported(f"it stops with {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from error


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    device = next(model.parameters()).device
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False),
        ):
            yield
    finally:
        for buffer, before in buffers:
            if not torch.equal(buffer, before):
                buffer.detach().copy_(before)


def outside(name: str) -> str:
    """What is wrong where a parameter's gradient is not that of its layer's calls."""
    layer = name.rpartition(".")[0] or "the model itself"
    return (
        f"layer '{layer}': the gradient of '{name}' is not that of its calls (it is used elsewhere too: in another layer, a "
        "hook, a function, the loss or a checkpoint): use engine 'forward'"
    )


def reached(model: nn.Module, loss: Callable[..., Tensor], names: Sequence[str], x: Tensor, y: Targets) -> bool:
    """Whether values put in the place of the parameters in `names` (`functional_call`) are those that the losses are made of.

    They are not where a forward has taken hold of a parameter itself, gives it other values (a largest norm), or works on
    gradients by a hook of the parameter.
    """

    def ask() -> tuple[bool, bool]:
        part, targets, whole = x[:PROBES].detach(), take(y, slice(PROBES)), Losses(model, loss)
        with torch.enable_grad():
            with leaves(model, names) as moving:
                before = [(p.data_ptr(), p._version) for p in model.parameters()]
                want = gradient(whole(part, targets).mean(), moving)
                if before != [(p.data_ptr(), p._version) for p in model.parameters()]:
                    return False, False
                tolerance = close(narrowest(next(iter(want.values())), moving))
            apart = {name: p.detach().clone().requires_grad_() for name, p in moving.items()}
            got = gradient(whole.at(apart, part, targets).mean(), apart)
        return not any(gradient_apart(got, want, name, tolerance) for name in names), False

    return remembered(key_of("reached", model, names, loss, x, y), ask, model)
