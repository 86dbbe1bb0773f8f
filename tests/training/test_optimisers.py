"""The average of weights against its formula, decay by parameter, and every name against PyTorch's optimiser."""

import pytest
import torch
from torch import nn

from refluence.models import ModelSpec, build
from refluence.training import optimisers

SPEC = ModelSpec("convnet1", (1, 8, 8), 3, 4)


def test_average_by_hand():
    net = nn.Linear(1, 1, bias=False).double()
    average, seen = optimisers.Average(net, 0.9), [2.0, -1.0, 4.0]
    for value in seen:
        net.weight.data.fill_(value)
        average.update(net)
    average.put(net)
    expected = (0.1 * 0.9**2 * 2.0 + 0.1 * 0.9 * -1.0 + 0.1 * 4.0) / (1 - 0.9**3)
    assert float(net.weight.detach()) == pytest.approx(expected)


def test_average_of_one_step_is_that_step():
    net = build(SPEC, torch.Generator())
    before = [p.clone() for p in net.parameters()]
    average = optimisers.Average(net, 0.995)
    average.update(net)
    average.put(net)
    for mine, theirs in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(mine.detach(), theirs.detach())


@pytest.mark.parametrize("kind", optimisers.OPTIMISERS)
@pytest.mark.parametrize(("decay_all", "flat"), [(True, 0.01), (False, 0.0)])
def test_decay_of_biases_and_norms(kind, decay_all, flat):
    net = build(SPEC, torch.Generator())
    decay = {}
    for group in optimisers.make(net, kind, 1.0, weight_decay=0.01, decay_all=decay_all).param_groups:
        decay |= {id(p): group["weight_decay"] for p in group["params"]}
    for parameter in net.parameters():
        assert decay[id(parameter)] == (0.01 if parameter.ndim > 1 else flat)


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.01)),
    ],
)
def test_every_name_is_its_optimiser(kind, own):
    nets = [nn.Linear(3, 2).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    momentum = {"momentum": 0.9} if kind == "sgd" else {}
    for net, optimiser in zip(
        nets, (optimisers.make(nets[0], kind, 0.1, weight_decay=0.01, **momentum), own(nets[1].parameters())), strict=True
    ):
        for _ in range(3):
            optimiser.zero_grad()
            net(torch.ones(1, 3, dtype=torch.float64)).square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(nets[0].weight, nets[1].weight)


def test_descent_is_sgd_without_momentum_bit_for_bit():
    nets = [nn.Linear(3, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    nets[0].register_parameter("unused", nn.Parameter(torch.ones(1)))
    for net, optimiser in zip(
        nets, (optimisers.Descent(nets[0], 0.3), torch.optim.SGD(nets[1].parameters(), lr=0.1)), strict=True
    ):
        optimisers.set_rate(optimiser, 0.1)
        for _ in range(3):
            optimiser.zero_grad()
            net(torch.ones(1, 3)).square().sum().backward()
            optimiser.step()
    assert torch.equal(nets[0].weight, nets[1].weight)
    assert nets[0].unused.tolist() == [1.0]
