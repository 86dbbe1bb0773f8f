"""An engine is believed for a network once its numbers are those of autograd, instance by instance (truth.py).

Asked once for each structure (structure.py) and process. A parameter whose gradient is nought, or next to it, proves nothing
(behind a gate that starts at zero): then the question is put once more, at moved values of the parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.influence.differentiable import Losses, leaves
from refluence.influence.layers import Unsupported
from refluence.influence.losses import Loss, take
from refluence.influence.structure import forget_counters, numbers, signature
from refluence.influence.truth import PROBES, close, gradient, gradients_apart, narrowest
from refluence.matching.statistics import Targets

REMEMBERED = 256  # structures
A = TypeVar("A")
_answers: OrderedDict[Hashable, tuple[type[Exception] | None, Any]] = OrderedDict()


def remembered(key: Hashable, ask: Callable[[], tuple[A, bool | None]], model: nn.Module) -> A:
    """`ask()[0]`, asked once for a key; an `Unsupported` or `InputError` is kept too.

    `ask()[1]`: whether a parameter was silent, so that the question is put once more, at moved values; None where nothing was
    finite, so that nothing is known and it is put again at the next call. While it is asked, products have the digits of their
    type, and neither random numbers nor buffers move for good.
    """
    refused: type[Exception] | None = None
    if key not in _answers:
        before = numbers(model)
        try:
            with _untouched(model):
                value, silent = ask()
                if silent:
                    with _moved(model):
                        later, still = ask()
                    value = value if still is None else later
            kept: Any = value
        except (Unsupported, InputError) as error:
            refused, kept, silent = type(error), error.args, False  # not itself: its traceback holds networks and batches
        forget_counters(model, before)
        if silent is None:
            return value
        _answers[key] = refused, kept
        while len(_answers) > REMEMBERED:
            _answers.popitem(last=False)
    _answers.move_to_end(key)
    refused, kept = _answers[key]
    if refused is not None:
        raise refused(*kept)
    return kept


def forget() -> None:
    """Ask anew from here on."""
    _answers.clear()


def key_of(what: Hashable, model: nn.Module, names: Sequence[str], loss: Loss, x: Tensor, y: Targets) -> Hashable:
    """The key of a question about a network: its structure, and how many instances can be asked."""
    return what, min(len(x), PROBES), signature(model, names, loss, x, y)


def believed(engine: Callable[[], A]) -> A:
    """What an engine gives; whatever else than memory stops it is a reason not to take it: `Unsupported`."""
    try:
        return engine()
    except (Unsupported, InputError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise Unsupported(f"it stops with {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from error


@contextmanager
def _moved(model: nn.Module) -> Iterator[None]:
    """Inside, every parameter has other values: a tenth of its size away, and 0.02 at least."""
    generator = torch.Generator().manual_seed(0)
    before = [(p, p.data) for p in model.parameters()]
    try:
        for p, values in before:
            size = float(values.abs().max()) if values.numel() else 0.0
            step = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(values)
            p.data = values + max(0.1 * size, 0.02) * step
        yield
    finally:
        for p, values in before:
            p.data = values


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    device = next(model.parameters()).device
    buffers, products = [(b, b.detach().clone()) for b in model.buffers()], torch.get_float32_matmul_precision()
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False),
        ):
            torch.set_float32_matmul_precision("highest")
            yield
    finally:
        torch.set_float32_matmul_precision(products)
        for buffer, before in buffers:
            if not torch.equal(buffer, before):
                buffer.detach().copy_(before)


def reached(model: nn.Module, loss: Loss, names: Sequence[str], x: Tensor, y: Targets) -> bool:
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
        return not gradients_apart(got, want, tolerance), False

    return remembered(key_of("reached", model, names, loss, x, y), ask, model)
