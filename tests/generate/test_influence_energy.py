"""Eq. 7 and its gradient by the image against autograd, one image and one checkpoint at a time in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from refluence.generate.influence import InfluenceEnergy
from refluence.generate.surrogate import Surrogate
from refluence.matching.discrepancies import FlatCosine
from refluence.models import ModelSpec, build

CLASSES, CHECKPOINTS = 3, 2


def surrogate_of(model: ModelSpec, seed: int = 0) -> Surrogate:
    """Random weights, buffers and class-mean gradients in float64."""
    g = torch.Generator().manual_seed(seed)

    def drawn(t: Tensor) -> Tensor:
        if not t.is_floating_point():
            return t
        noise = torch.randn(t.shape, generator=g, dtype=torch.float64)
        return t.double() + 0.1 * noise.abs() if t.dim() == 1 else t.double() + 0.1 * noise

    states = []
    for _ in range(CHECKPOINTS):
        net = build(model, torch.Generator().manual_seed(seed))
        states.append({name: drawn(t) for name, t in net.state_dict().items()})
    size = sum(p.numel() for p in net.parameters())
    gradients = [torch.randn(CLASSES, size, generator=g, dtype=torch.float64) for _ in states]
    return Surrogate(model, tuple(states), tuple(gradients), (0, 3), (0.01, 0.03), (0.5,), (0.25,))


def by_hand(surrogate: Surrogate, nets: list[nn.Module], x: Tensor, label: int, rates: tuple[float, ...]) -> Tensor:
    """Eq. 7 of one image as it is written, with its graph."""
    total = torch.zeros((), dtype=x.dtype)
    for net, gradients, rate in zip(nets, surrogate.gradients, rates, strict=True):
        p = [p.requires_grad_() for p in net.parameters()]
        a = torch.autograd.grad(cross_entropy(net(x[None]), torch.tensor([label])), p, create_graph=True)
        own = {str(i): t for i, t in enumerate(a)}
        parts = gradients[label].split([t.numel() for t in a])
        wanted = {str(i): part.view_as(t) for i, (part, t) in enumerate(zip(parts, a, strict=True))}
        total = total + rate * FlatCosine(eps=0.0).value(own, wanted)
    return total / (len(nets) * (sum(rates) / len(rates)))


NETWORKS = [
    ("convnet2", 4, "instance"),
    ("convnet1", 4, "group"),
    ("convnet1", 4, "batch"),
    ("resnetap10", 2, "instance"),
    ("resnet18", 2, "batch"),
]


@pytest.mark.parametrize("averaging", ["trained", "equal"])
@pytest.mark.parametrize(("name", "width", "norm"), NETWORKS)
def test_energy_and_gradient_are_those_of_plain_autograd(name, width, norm, averaging):
    model = ModelSpec(name, (1, 16, 16), CLASSES, width, norm)
    surrogate = surrogate_of(model)
    x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.tensor([2, 0, 2, 1])
    energy, gradient = InfluenceEnergy(surrogate, averaging=averaging).gradient(x, y)
    nets = surrogate.networks()
    rates = surrogate.rates if averaging == "trained" else (1.0, 1.0)
    for i, label in enumerate(y.tolist()):
        image = x[i].clone().requires_grad_()
        value = by_hand(surrogate, nets, image, label, rates)
        (slope,) = torch.autograd.grad(value, image)
        torch.testing.assert_close(energy[i], value.detach(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient[i], slope, rtol=1e-7, atol=1e-10 + 1e-8 * float(slope.abs().max()))
