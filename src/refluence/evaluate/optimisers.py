"""Optimisers of a protocol, and the running average of weights.

SGD with momentum, Adam and AdamW are PyTorch's, with its default betas. `decay_all` False leaves parameters of one dimension
(biases, norms) without weight decay, as the code of SRe2L and RDED does.

    average_t = hidden_t / (1 - d^t),  hidden_t = d hidden_{t-1} + (1 - d) theta_t,  hidden_0 = 0

(FRePo, arXiv 2206.00719, its code: d = .995, without bias.)
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from refluence.evaluate.protocol import Protocol


def make(net: nn.Module, protocol: Protocol, lr: float) -> torch.optim.Optimizer:
    """A new optimiser over the network's parameters."""
    groups: list | Iterable = net.parameters()
    if not protocol.decay_all:
        flat = [p for p in net.parameters() if p.ndim < 2]
        groups = [{"params": [p for p in net.parameters() if p.ndim >= 2]}, {"params": flat, "weight_decay": 0.0}]
    facts = {"lr": lr, "weight_decay": protocol.weight_decay, "fused": True}
    if protocol.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=protocol.momentum, **facts)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[protocol.optimiser](groups, **facts)


def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """The same optimiser, with its state, at another rate."""
    for group in optimiser.param_groups:
        group["lr"] = lr


class Average:
    """Exponential average of a network's parameters without bias; buffers are left as they are."""

    def __init__(self, net: nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.hidden = [torch.zeros_like(p) for p in net.parameters()]

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take the present weights in."""
        self.steps += 1
        torch._foreach_lerp_(self.hidden, list(net.parameters()), 1 - self.decay)

    @torch.no_grad()
    def put(self, net: nn.Module) -> None:
        """Give the network the average in the place of its weights."""
        share: float = 1 - self.decay**self.steps
        values: list[Tensor] = self.hidden
        for parameter, hidden in zip(net.parameters(), values, strict=True):
            parameter.copy_(hidden / share)
