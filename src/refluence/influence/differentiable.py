"""A network and its per-sample loss as one function of the parameters, by kernels that every derivative has:

    losses(theta)_j = l(net(x; theta), y)_j

The loss is evaluated while the parameters are replaced, so that one which reads them (a weight penalty) follows. Attention
runs as plain products and a softmax: the fused kernels and the fast path of `nn.TransformerEncoder` have neither forward-mode
nor second derivatives on the CPU. Recurrent layers run without mkldnn and cuDNN for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from refluence.errors import InputError
from refluence.functional import call_at
from refluence.influence.losses import Loss
from refluence.influence.parameters import Parameters
from refluence.matching.statistics import Targets


class Losses(nn.Module):
    """`(x, y) -> (B,)`. The parameters of `model` have its names behind "model."."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, x: Tensor, y: Targets) -> Tensor:
        """The loss of every sample, or `InputError` when that is not one value a sample."""
        with plain_kernels(self.model):
            return per_sample(self.loss(self.model(x), y), len(x))

    def at(self, parameters: Parameters, x: Tensor, y: Targets) -> Tensor:
        """The same at other values of the model's parameters and buffers."""
        return call_at(self, {f"model.{name}": p for name, p in parameters.items()}, x, y)


def logits_at(model: nn.Module, parameters: Parameters, x: Tensor) -> Tensor:
    """`model(x)` at other values of its parameters and buffers, by kernels that every derivative has."""
    with plain_kernels(model):
        return call_at(model, parameters, x)


@contextmanager
def plain_kernels(model: nn.Module) -> Iterator[None]:
    """Inside, attention and recurrent layers run by operations that have derivatives of every kind."""
    switches: list[Any] = []  # modules of torch, whose types do not show `enabled`
    if any(isinstance(m, nn.RNNBase) for m in model.modules()):
        switches = [torch.backends.mkldnn, torch.backends.cudnn]
    fast, before = torch.backends.mha.get_fastpath_enabled(), [switch.enabled for switch in switches]
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for switch in switches:
            switch.enabled = False
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for switch, value in zip(switches, before, strict=True):
            switch.enabled = value


@contextmanager
def only_leaves(model: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """The parameters in `names` with `requires_grad` inside, and no others: below the lowest of them there is no graph."""
    before = [(p, p.requires_grad) for p in model.parameters()]
    chosen = set(names)
    try:
        for name, p in model.named_parameters():
            p.requires_grad_(name in chosen)
        yield
    finally:
        for p, flag in before:
            p.requires_grad_(flag)


@contextmanager
def leaves(model: nn.Module, names: Iterable[str]) -> Iterator[Parameters]:
    """The model's own parameters in `names`, each with `requires_grad` inside; it is put back at the end."""
    chosen = set(names)
    own = {name: p for name, p in model.named_parameters() if name in chosen}
    before = {name: p.requires_grad for name, p in own.items()}
    try:
        yield {name: p.requires_grad_() for name, p in own.items()}
    finally:
        for name, p in own.items():
            p.requires_grad_(before[name])


def per_sample(losses: Tensor, n: int) -> Tensor:
    """`losses` itself, or `InputError` when it is not one value a sample."""
    if losses.shape != (n,):
        raise InputError(f"loss must return one value a sample, ({n},), got {tuple(losses.shape)}")
    return losses
