"""What a network's derivatives are built from, without its values: the key under which a check of an engine is remembered.

Two networks share a signature where they have the same modules (class, mode, plain attributes, hooks, replaced methods), the
same parameters and buffers (names, which are one tensor, shapes, types), and are asked about inputs, targets, losses and
parameters of the same kind. Values of tensors do not count: a network that is trained on keeps its signature.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping
from enum import Enum
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from refluence.influence.losses import Loss
from refluence.matching.statistics import Targets

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
LONGEST = 64  # entries of a container that are looked at
_INTERNAL = frozenset(vars(nn.Module())) - {"training"}
_PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device, type)
_numbers = itertools.count()
_tokens: WeakKeyDictionary[object, int] = WeakKeyDictionary()
_counters: set[tuple[type, str]] = set()  # attributes that a forward changes, by the class of their module
Numbers = dict[tuple[str, type, str], float]


def signature(model: nn.Module, names: Iterable[str], loss: Loss, x: Tensor, y: Targets) -> Hashable:
    """The key of `loss(model(x), y)`, differentiated by the parameters in `names`. Values of x and y do not count."""
    seen: dict[int, int] = {}
    parameters = tuple(
        (name, seen.setdefault(id(p), len(seen)), p.requires_grad, _tensor(p), _hooks(getattr(p, "_backward_hooks", None)))
        for name, p in model.named_parameters(remove_duplicate=False)
    )
    buffers = tuple((name, _tensor(b)) for name, b in model.named_buffers(remove_duplicate=False))
    modules = _modules(model)
    everywhere = tuple(_hooks(getattr(global_hooks, f"_global{kind}", None)) for kind in HOOKS)
    batch = (_ids(x), *((t.shape[1:], t.dtype, t.device) for t in tree_leaves(y) if isinstance(t, Tensor)))
    asked = (token(loss), _modules(loss)) if isinstance(loss, nn.Module) else token(loss)
    return modules, parameters, buffers, everywhere, tuple(names), asked, batch


def _ids(x: Tensor) -> Hashable:
    """Shape, type and device of inputs; rows of ids, which every batch pads to another length, by its next power of two."""
    lengths = x.shape[1:] if x.is_floating_point() or x.dim() != 2 else (1 << (x.shape[1] - 1).bit_length(),)
    return lengths, x.dtype, x.device


def _modules(model: nn.Module) -> tuple[Hashable, ...]:
    return tuple((label, type(m), token(type(m).forward), *_own(m)) for label, m in model.named_modules(remove_duplicate=False))


def token(value: object) -> Hashable:
    """What a function or another object is known by, the same for equal ones and never given again; it keeps none alive."""
    if hasattr(value, "__self__") and hasattr(value, "__func__"):  # a bound method is made anew at every look
        return token(value.__self__), token(value.__func__)
    try:
        if value not in _tokens:
            _tokens[value] = next(_numbers)
        return _tokens[value]
    except TypeError:  # not hashable, or no weak reference to it: what it is made of
        return type(value), _value(getattr(value, "__dict__", None))


def forget_counters(model: nn.Module, before: Numbers) -> None:
    """Leave out of signatures from here on the numbers that a network's own forward has changed since `numbers(model)`."""
    for place, value in numbers(model).items():
        if before.get(place, value) != value:
            _counters.add(place[1:])


def numbers(model: nn.Module) -> Numbers:
    """The plain numbers among the attributes of the modules, by (label, class, attribute)."""
    return {
        (label, type(module), key): value
        for label, module in model.named_modules()
        for key, value in vars(module).items()
        if key not in _INTERNAL and isinstance(value, (int, float))
    }


def _own(module: nn.Module) -> tuple[Hashable, ...]:
    plain = [
        (key, _value(value))
        for key, value in vars(module).items()
        if key not in _INTERNAL and (type(module), key) not in _counters
    ]
    return *plain, *(_hooks(getattr(module, kind)) for kind in HOOKS)


def _value(value: object, deep: int = 4) -> Hashable:
    """A setting of a module; an object is its attributes, up to a depth. Values of tensors and arrays do not count."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.generic):
        return type(value), value.item()
    if isinstance(value, (Tensor, np.ndarray)):
        return type(value), tuple(value.shape)
    if isinstance(value, nn.Module) or (callable(value) and not hasattr(value, "__dataclass_fields__")) or not deep:
        if callable(value):
            return token(value)
        return (type(value),)
    if isinstance(value, Enum):
        return type(value), value.name
    if hasattr(value, "__len__") and len(value) > LONGEST:  # data that lies with the network
        return type(value), len(value)
    if isinstance(value, (tuple, list)):
        return tuple(_value(one, deep - 1) for one in value)
    if isinstance(value, (set, frozenset)):
        return frozenset(_value(one, deep - 1) for one in value)
    if isinstance(value, Mapping):
        return tuple((_value(key, deep - 1), _value(one, deep - 1)) for key, one in value.items())
    return type(value), _value(getattr(value, "__dict__", None), deep - 1)


def _tensor(t: Tensor) -> tuple[Hashable, ...]:
    return ("lazy",) if is_lazy(t) else (t.shape, t.dtype, t.device)


def _hooks(hooks: Mapping[int, object] | None) -> tuple[Hashable, ...]:
    return tuple(token(hook) for hook in hooks.values()) if hooks else ()
