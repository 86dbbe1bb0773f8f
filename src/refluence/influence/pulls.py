"""J^T v = d/dtheta <Phi(theta), v> of rows phi(net, x), by one backward a pass, whatever parameters are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from refluence.functional import call_at
from refluence.influence.batches import check_fixed, passes
from refluence.influence.parameters import Parameters, parameters_of, zeros
from refluence.matching.statistics import Batches, Targets

Rows = Callable[[nn.Module, Tensor], Mapping[str, Tensor]]
"""(net, x (B, ...)) -> name -> (B, ...)."""
Dot = Callable[[Mapping[str, Tensor], Tensor | None, slice], Tensor]
"""(rows, omega, their places among all) -> their share of <Phi, v>, a scalar."""


def pulled(model: nn.Module, batches: Batches, names: Iterable[str] | None, phi: Rows, dot: Dot) -> tuple[Parameters, int]:
    """The sum over all passes of d dot/d theta by the parameters in `names` (None: all), and the number of instances."""
    total, count = zeros(parameters_of(model, names)), 0
    moving = {k: p.clone().requires_grad_() for k, p in parameters_of(model, total).items()}
    parameters = {f"net.{k}": p for k, p in {**parameters_of(model), **moving}.items()}
    for x, _, omega in checked(model, batches):
        with torch.enable_grad():
            value = dot(call_at(_Rows(model, phi), parameters, x), omega, slice(count, count + len(x)))
        if value.requires_grad:  # else nothing here depends on the chosen parameters
            gradients = torch.autograd.grad(value, [moving[k] for k in total], materialize_grads=True)
            for k, g in zip(total, gradients, strict=True):
                total[k] += g
        count += len(x)
    return total, count


def checked(model: nn.Module, batches: Batches) -> Iterator[tuple[Tensor, Targets, Tensor | None]]:
    """The passes over all batches of a model that gives an instance one value; `InputError` for others."""
    check_fixed(model)
    return passes(batches, next(iter(parameters_of(model).values())).device)


class _Rows(nn.Module):
    """A function of the network and its input as a module, so that it can be called with other parameters."""

    def __init__(self, net: nn.Module, phi: Rows):
        super().__init__()
        self.net, self.phi = net, phi

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        return self.phi(self.net, x)
