"""Optimisers by name, and the running average of weights.

SGD with momentum, Adam and AdamW are PyTorch's, with its default betas. `decay_all` False leaves parameters of one dimension
(biases, norms) without weight decay, as the code of SRe2L and RDED does.

    average_t = hidden_t / (1 - d^t),  hidden_t = d hidden_{t-1} + (1 - d) theta_t,  hidden_0 = 0

(FRePo, arXiv 2206.00719, its code: d = .995, without bias.)
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

OPTIMISERS = ("sgd", "adam", "adamw")


class Optimiser(Protocol):
    """What the loop asks of an optimiser: every one of PyTorch's, and `Descent`."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """No parameter has a gradient."""

    def step(self) -> object:
        """Move the parameters."""


class Descent:
    """theta <- theta - lr gradient, and nothing else: a tenth of a millisecond a step faster than PyTorch's SGD."""

    def __init__(self, net: nn.Module, lr: float):
        self.parameters = list(net.parameters())
        self.param_groups: list[dict[str, Any]] = [{"params": self.parameters, "lr": lr}]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """See `Optimiser`; gradients are always set to none."""
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """See `Optimiser`. A parameter without a gradient stays."""
        moved = [(p, p.grad) for p in self.parameters if p.grad is not None]
        torch._foreach_add_([p for p, _ in moved], [g for _, g in moved], alpha=-self.param_groups[0]["lr"])


def make(
    net: nn.Module,
    kind: str,
    lr: float,
    *,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    decay_all: bool = True,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """A new optimiser, one of `OPTIMISERS`, over the network's parameters. Only SGD has `momentum` and `nesterov`."""
    parameters = list(net.parameters())
    groups: list[dict[str, list[nn.Parameter] | float]] = [{"params": parameters}]
    if not decay_all:
        flat: dict[str, list[nn.Parameter] | float] = {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}
        groups = [{"params": [p for p in parameters if p.ndim >= 2]}, flat]
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, fused=True)
    adam = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
    return adam(groups, lr=lr, weight_decay=weight_decay, fused=True)


def set_rate(optimiser: Optimiser, lr: float) -> None:
    """The same optimiser, with its state, at another rate."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimiser by "optimiser.NUMBER.NAME"."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    return {
        f"optimiser.{i}.{name}": value
        for i, p in enumerate(parameters)
        for name, value in optimiser.state.get(p, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Tensor], prefix: str = "optimiser.") -> None:
    """Take over what `optimiser_state` gave."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for key, value in state.items():
        if key.startswith(prefix):
            number, _, name = key.removeprefix(prefix).partition(".")
            parameter = parameters[int(number)]
            # a counter of steps stays where the optimiser keeps it
            optimiser.state[parameter][name] = value.clone() if value.dim() == 0 else value.to(parameter, copy=True)


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
