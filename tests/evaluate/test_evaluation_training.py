"""Training follows the protocol step by step, depends on its own generators alone, and stops when it diverges."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from evaluate_fixtures import rng

from refluence.errors import RunError
from refluence.evaluate import Protocol, protocols, train
from refluence.models import build

PLAIN = Protocol("plain", epochs=6, note="test", lr=0.05, batch=12)


def parameters(net) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize("rebuild", [True, False])
def test_equals_sgd_written_out_by_hand(problem, rebuild):
    """Momentum, weight decay, batches, the drop at half way, and the momentum that a rebuild forgets."""
    images, labels, _, spec = problem
    net, curve = train(images, labels, spec, dataclasses.replace(PLAIN, rebuild=rebuild), rng, 3)
    mine = build(spec, rng("evaluation-network", 3))
    velocity, lr, losses = None, 0.05, []
    for epoch in range(6):
        if epoch == 3:
            lr *= 0.1
            velocity = None if rebuild else velocity
        total = 0.0
        for batch in torch.randperm(30, generator=rng("evaluation-epoch", 3 * 1_000_003 + epoch)).split(12):
            loss = F.cross_entropy(mine(images[batch]), labels[batch])
            grads = torch.autograd.grad(loss, list(mine.parameters()))
            total += float(loss.detach()) * len(batch) / 30
            with torch.no_grad():
                grads = [g + 5e-4 * p for g, p in zip(grads, mine.parameters(), strict=True)]
                velocity = grads if velocity is None else [0.9 * v + g for v, g in zip(velocity, grads, strict=True)]
                for p, v in zip(mine.parameters(), velocity, strict=True):
                    p -= lr * v
        losses.append(total)
    torch.testing.assert_close(parameters(net), parameters(mine), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(curve, torch.tensor(losses), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["dc-cpu", "dsa-cpu"])
def test_a_network_depends_on_its_index_and_on_nothing_else(problem, name):
    images, labels, _, spec = problem
    protocol = protocols()[name].with_(epochs=3, batch=7)
    kept = images.clone()
    first, _ = train(images, labels, spec, protocol, rng, 1)
    torch.rand(5)  # the global state moves on
    state = torch.get_rng_state()
    other, _ = train(images, labels, spec, protocol, rng, 0)
    again, _ = train(images, labels, spec, protocol, rng, 1)
    assert torch.equal(parameters(first), parameters(again))
    assert not torch.equal(parameters(first), parameters(other))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(images, kept), "the images were changed in place"


def test_images_that_are_being_learned_get_no_gradient(problem):
    images, labels, _, spec = problem
    images.requires_grad_()
    train(images, labels, spec, PLAIN.with_(epochs=1), rng, 0)
    assert images.grad is None


def test_curve_falls_on_a_problem_that_can_be_learned(problem):
    images, labels, _, spec = problem
    _, curve = train(images, labels, spec, dataclasses.replace(PLAIN, epochs=30), rng, 0)
    assert curve.shape == (30,)
    assert curve[-1] < 0.2 * curve[0]


def test_divergence_names_the_epoch(problem):
    images, labels, _, spec = problem
    with pytest.raises(RunError, match=r"network 2 .* epoch 1 of 4 .*plain.*learning rate 0.05"):
        train(images * torch.inf, labels, spec, dataclasses.replace(PLAIN, epochs=4), rng, 2)
    with pytest.raises(RunError, match=r"in epoch 2 of 10"):
        train(images, labels, spec, dataclasses.replace(PLAIN, epochs=10, lr=1e30, batch=30), rng, 0)
