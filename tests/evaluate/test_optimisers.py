"""The average of weights against its formula, decay by parameter, and momentum that is carried or forgotten."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from evaluate_fixtures import rng
from torch import nn

from refluence.evaluate import optimisers, protocols, train
from refluence.models import ModelSpec, build

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
    net = build(SPEC, rng("n", 0))
    before = [p.clone() for p in net.parameters()]
    average = optimisers.Average(net, 0.995)
    average.update(net)
    average.put(net)
    for mine, theirs in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(mine.detach(), theirs.detach())


def test_training_with_an_average_scores_the_average(problem):
    images, labels, _, spec = problem
    plain = dataclasses.replace(protocols()["frepo"], ema=0.0).with_(epochs=3)
    path = []
    for steps in (1, 2, 3):  # the schedule of three updates, stopped early
        cut = dataclasses.replace(plain, schedule="steps", milestones=(), lr=0.01, epochs=steps)
        path.append([p.detach() for p in train(images, labels, spec, cut, rng, 0)[0].parameters()])
    net, _ = train(images, labels, spec, dataclasses.replace(cut, ema=0.5), rng, 0)
    for i, parameter in enumerate(net.parameters()):
        expected = (0.125 * path[0][i] + 0.25 * path[1][i] + 0.5 * path[2][i]) / 0.875
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "flat"), [("sre2l", 0.0), ("sre2l-cifar", 0.01), ("igd", 0.01)])
def test_decay_of_biases_and_norms(name, flat):
    net = build(SPEC, rng("n", 0))
    decay = {}
    for group in optimisers.make(net, protocols()[name], 1.0).param_groups:
        decay |= {id(p): group["weight_decay"] for p in group["params"]}
    for parameter in net.parameters():
        assert decay[id(parameter)] == (0.01 if parameter.ndim > 1 else flat)


def test_stages_grow_and_carry_their_momentum(problem):
    """PDD written out: two stages, SGD by hand, the velocity never forgotten."""
    images, labels, _, spec = problem
    stage = (torch.arange(30) % 5 == 0).long()
    plain = dataclasses.replace(protocols()["pdd"], epochs=3, augmentation_grey="none", mix="none", batch=8, lr=0.05)
    net, curve = train(images, labels, spec, plain, rng, 1, stage=stage)
    mine, velocity = build(spec, rng("evaluation-network", 1)), None
    for k, part in enumerate([torch.arange(30)[stage == 0], torch.arange(30)]):
        for e, lr in enumerate([0.05, 0.05, 0.01]):
            order = part[torch.randperm(len(part), generator=rng("evaluation-epoch", 1_000_003 + 3 * k + e))]
            for batch in order.split(8):
                grads = torch.autograd.grad(F.cross_entropy(mine(images[batch]), labels[batch]), list(mine.parameters()))
                with torch.no_grad():
                    grads = [g + 5e-4 * p for g, p in zip(grads, mine.parameters(), strict=True)]
                    velocity = grads if velocity is None else [0.9 * v + g for v, g in zip(velocity, grads, strict=True)]
                    for p, v in zip(mine.parameters(), velocity, strict=True):
                        p -= lr * v
    assert len(curve) == 6
    for a, b in zip(net.parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), rtol=1e-4, atol=1e-6)
    assert len(train(images, labels, spec, plain, rng, 1)[1]) == 3, "no stages: one"
