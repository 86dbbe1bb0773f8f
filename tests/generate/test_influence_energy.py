"""Eq. 7 and its gradient by the image against autograd, one image and one checkpoint at a time in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from refluence.errors import InputError
from refluence.generate.expanded import expanded_gradients
from refluence.generate.influence import InfluenceEnergy, cosines, rows_of, single_gradients
from refluence.generate.surrogate import Surrogate
from refluence.matching.discrepancies import FlatCosine
from refluence.models import ModelSpec, build
from refluence.randomness import seeded

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
    ("convnet1", 8, "group"),
    ("convnet1", 4, "batch"),
    ("convnet1", 4, "layer"),
    ("convnet2", 4, "none"),
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
    found = InfluenceEnergy(surrogate, averaging=averaging)
    energy, gradient = found.gradient(x, y)
    assert found.rows is expanded_gradients
    torch.testing.assert_close(found.energy(x, y), energy)
    nets = surrogate.networks()
    rates = surrogate.rates if averaging == "trained" else (1.0, 1.0)
    for i, label in enumerate(y.tolist()):
        image = x[i].clone().requires_grad_()
        value = by_hand(surrogate, nets, image, label, rates)
        (slope,) = torch.autograd.grad(value, image)
        torch.testing.assert_close(energy[i], value.detach(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient[i], slope, rtol=1e-7, atol=1e-10 + 1e-8 * float(slope.abs().max()))


class Odd(nn.Module):
    """Layers of every covered kind in unusual forms, one of them called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, bias=False)
        self.norms = nn.Sequential(nn.GroupNorm(2, 6), nn.InstanceNorm2d(6, affine=True), nn.GroupNorm(3, 6, affine=False))
        self.second = nn.Conv2d(6, 6, 3, padding=2, dilation=2, padding_mode="circular")
        self.tokens, self.head = nn.Linear(6, 6, bias=False), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.second(self.norms(self.first(x))))
        h = nn.functional.avg_pool2d(torch.tanh(self.second(h)), 2)
        return self.head(self.tokens(h.flatten(2).mT).mean(1))


class Scaled(nn.Module):
    """A parameter that acts outside a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.head = nn.Parameter(torch.rand(2, 1, 1)), nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(x * self.scale).flatten(1))


class Turned(nn.Module):
    """A layer that sees the images along its second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(64, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.inner(x.flatten(2).transpose(0, 1))).sum(0))


@pytest.mark.parametrize(("make", "rows"), [(Odd, expanded_gradients), (Scaled, single_gradients), (Turned, single_gradients)])
def test_a_network_of_ones_own_has_the_same_gradient_by_the_route_that_is_right_for_it(make, rows):
    with seeded(0):
        net = make().double().eval()
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 2, 8, 8, generator=g, dtype=torch.float64), torch.tensor([1, 2])
    assert rows_of(net.requires_grad_(False), (2, 8, 8), CLASSES) is rows
    gradients = torch.randn(CLASSES, sum(p.numel() for p in net.parameters()), generator=g, dtype=torch.float64)
    unit = torch.nn.functional.normalize(gradients, dim=1)
    cosine, along = cosines(net, x, y, unit[y], rows)
    assert along is not None
    for i, label in enumerate(y.tolist()):
        image, p = x[i].clone().requires_grad_(), list(net.requires_grad_().parameters())
        a = torch.autograd.grad(cross_entropy(net(image[None]), y[i : i + 1]), p, create_graph=True)
        value = torch.cosine_similarity(torch.cat([t.flatten() for t in a]), gradients[label], dim=0)
        torch.testing.assert_close(cosine[i], value.detach())
        torch.testing.assert_close(along[i], torch.autograd.grad(value, image)[0])


def test_gradients_of_zero_steer_nothing_and_chunks_do_not_matter(monkeypatch):
    surrogate = surrogate_of(ModelSpec("convnet1", (1, 8, 8), CLASSES, 4))
    for state in surrogate.checkpoints:
        state["classifier.weight"].zero_()
        state["classifier.bias"].copy_(torch.tensor([0.0, -1e4, -1e4]))
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = InfluenceEnergy(surrogate).gradient(x, torch.tensor([0, 1, 0]))
    assert whole[0].tolist()[::2] == [1.0, 1.0]
    assert not whole[1][::2].any()
    assert whole[1].isfinite().all()
    monkeypatch.setattr("refluence.generate.influence.PIXELS", 128)
    torch.testing.assert_close(InfluenceEnergy(surrogate).gradient(x, torch.tensor([0, 1, 0])), whole)


def test_an_unknown_averaging_is_refused():
    surrogate = surrogate_of(ModelSpec("convnet1", (1, 8, 8), CLASSES, 4))
    with pytest.raises(InputError, match="unknown averaging 'mean': choose one of trained, equal"):
        InfluenceEnergy(surrogate, averaging="mean")


@pytest.mark.parametrize("rates", [(0.01, 0.01), (0.01, 0.03)])
def test_averaging_matters_only_where_rates_differ(rates):
    surrogate = replace(surrogate_of(ModelSpec("convnet1", (1, 8, 8), CLASSES, 4)), rates=rates)
    shares = [InfluenceEnergy(surrogate, averaging=how).shares for how in ("trained", "equal")]
    assert (shares[0] == shares[1]) == (rates[0] == rates[1])
