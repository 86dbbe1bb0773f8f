"""Whether second derivatives of a network are what differences of first ones say, asked once for each structure:

    H v  =  (grad L(theta + h v) - grad L(theta - h v)) / 2h          J v  =  (z(theta + h v) - z(theta - h v)) / 2h

An operation whose backward computes with plain numbers (a `torch.autograd.Function`) would give another H v in silence. Asked
of a copy of the network in float64 and away from theta, where no kink is near; one that cannot be copied is believed. The step
is short: a wide network has 10^5 kinks and more, and one that lies between the two sides spoils the difference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from refluence.errors import InputError
from refluence.influence.differentiable import Losses, leaves, plain_kernels
from refluence.influence.losses import Loss, take
from refluence.influence.parameters import Parameters
from refluence.influence.proof import key_of, remembered
from refluence.influence.truth import PROBES, gradient
from refluence.matching.statistics import Targets

STEP, AWAY, TOLERANCE = 1e-9, 0.05, 1e-2
Tangent = Callable[[nn.Module, Tensor, Parameters, Parameters], tuple[Tensor, Tensor]]


def check_twice(
    model: nn.Module,
    names: Sequence[str],
    x: Tensor,
    y: Targets,
    loss: Loss,
    tangent: Tangent | None = None,
) -> None:
    """Raise `InputError` where H v of the mean loss by double backward is wrong.

    With `tangent(model, x, moving, v)`, which gives logits and J v: where its J v is.
    """

    def ask() -> tuple[bool, bool]:
        try:
            return _agree(copy.deepcopy(model).double(), names, x, y, loss, tangent), False
        except (torch.OutOfMemoryError, InputError):
            raise
        except Exception:  # what a copy cannot do shows nothing
            return True, False

    if x.is_meta or x.device.type == "mps":
        return
    if not remembered(key_of(("twice", tangent is None), model, names, loss, x, y), ask, model):
        raise InputError(
            "the second derivatives of this network are wrong: the backward of one of its operations (a "
            "torch.autograd.Function?) is not differentiable; curvature identity needs none"
        )


def _agree(net: nn.Module, names: Sequence[str], x: Tensor, y: Targets, loss: Loss, tangent: Tangent | None) -> bool:
    few, targets = tree_map(lambda t: t.double() if t.is_floating_point() else t, (x[:PROBES], take(y, slice(PROBES))))
    generator, whole = torch.Generator().manual_seed(0), Losses(net, loss)

    def drawn(p: Tensor) -> Tensor:
        return torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p)

    for parameter in net.parameters():
        parameter.data = parameter.data + AWAY * drawn(parameter)

    def first(moving: Parameters) -> Parameters:
        if tangent is None:
            return gradient(whole(few, targets).mean(), moving)
        with torch.no_grad(), plain_kernels(net):
            return {"logits": net(few)}

    with leaves(net, names) as moving, torch.enable_grad():
        v = {name: drawn(p) for name, p in moving.items()}
        if tangent is None:
            slopes = torch.autograd.grad(
                whole(few, targets).mean(), list(moving.values()), create_graph=True, materialize_grads=True
            )
            got = gradient(torch.stack([(g * v[name]).sum() for name, g in zip(moving, slopes, strict=True)]).sum(), moving)
        else:
            got = {"logits": tangent(net, few, moving, v)[1]}
        sides = []
        for side in (1, -1):
            before = {name: p.data for name, p in moving.items()}
            for name, p in moving.items():
                p.data = before[name] + side * STEP * v[name]
            sides.append(first(moving))
            for name, p in moving.items():
                p.data = before[name]
    want = {name: (ahead - sides[1][name]) / (2 * STEP) for name, ahead in sides[0].items()}
    apart, size = (
        sum(float(t.norm()) ** 2 for t in parts) ** 0.5
        for parts in ([got[name] - w for name, w in want.items()], want.values())
    )
    return not apart > TOLERANCE * size
