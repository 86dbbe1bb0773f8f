"""What a network's derivatives are built from, without its values: the key under which a check of an engine is remembered.

Two networks share a signature where they have the same modules (class, mode, plain attributes, hooks, replaced methods), the
same parameters and buffers (names, which are one tensor, shapes, types), and are asked about inputs, targets, losses and
parameters of the same kind. Values of tensors do not count: a network that is trained on keeps its signature.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks
from torch.utils._pytree import tree_leaves

from refluence.influence.losses import Targets

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_INTERNAL = frozenset(vars(nn.Module())) - {"training"}
_PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device, type)
_numbers = itertools.count()
_tokens: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def signature(model: nn.Module, names: Iterable[str], loss: Callable[..., Any], x: Tensor, y: Targets) -> Hashable:
    """The key of `loss(model(x), y)`, differentiated by the parameters in `names`. Values of x and y do not count."""
    seen: dict[int, int] = {}
    parameters = tuple(
        (name, seen.setdefault(id(p), len(seen)), p.requires_grad, _tensor(p), _hooks(getattr(p, "_backward_hooks", None)))
        for name, p in model.named_parameters(remove_duplicate=False)
    )
    buffers = tuple((name, _tensor(b)) for name, b in model.named_buffers(remove_duplicate=False))
    modules = tuple((label, type(m), *_own(m)) for label, m in model.named_modules(remove_duplicate=False))
    everywhere = tuple(_hooks(getattr(global_hooks, f"_global{kind}", None)) for kind in HOOKS)
    batch = tuple((t.shape[1:], t.dtype, t.device) for t in tree_leaves((x, y)) if isinstance(t, Tensor))
    return modules, parameters, buffers, everywhere, tuple(names), token(loss), batch


def token(value: Any) -> Hashable:
    """A number for a function or another object, the same for equal ones and never given again; None of it keeps them alive."""
    if hasattr(value, "__self__") and hasattr(value, "__func__"):  # a bound method is made anew at every look
        return token(value.__self__), token(value.__func__)
    try:
        if value not in _tokens:
            _tokens[value] = next(_numbers)
        return _tokens[value]
    except TypeError:  # not hashable, or no weak reference to it: nothing is remembered of it
        return next(_numbers)


def _own(module: nn.Module) -> tuple[Any, ...]:
    plain = [
        (key, _value(value))
        for key, value in vars(module).items()
        if key not in _INTERNAL and not isinstance(value, (Tensor, nn.Module))
    ]
    return *plain, *(_hooks(getattr(module, kind)) for kind in HOOKS)


def _value(value: Any) -> Hashable:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(_value(one) for one in value)
    return token(value) if callable(value) else type(value)


def _tensor(t: Tensor) -> tuple[Any, ...]:
    return (t.shape, t.dtype, t.device) if not isinstance(t, nn.parameter.UninitializedTensorMixin) else ("lazy",)


def _hooks(hooks: Any) -> tuple[Hashable, ...]:
    return tuple(token(hook) for hook in hooks.values()) if hooks else ()
