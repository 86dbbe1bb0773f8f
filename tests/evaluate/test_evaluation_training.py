"""Training follows the protocol step by step, depends on its own generators alone, and stops when it diverges."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from refluence.errors import RunError
from refluence.evaluate import Protocol, protocols, train
from refluence.models import build
from support.tiny_data import rng

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


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_the_loss_is_mixed_by_area(problem, kind, monkeypatch):
    """One epoch of one batch: the first loss is that of the fresh network on the mixed images."""
    images, labels, _, spec = problem
    box = torch.arange(8)[:, None].lt(4) & torch.arange(8).lt(4)
    backwards = torch.arange(29, -1, -1)
    monkeypatch.setattr(
        "refluence.training.mixing.mix", lambda kind, p, a, x, g: (torch.where(box, x.flip(0), x), backwards, 0.75)
    )
    soft = torch.rand(30, 3, generator=torch.Generator().manual_seed(2)).softmax(1)
    own = labels if kind == "hard" else soft
    protocol = dataclasses.replace(protocols()["dc"], augmentation_grey="none", mix="cutmix").with_(epochs=1)
    _, curve = train(images, own, spec, protocol, rng, 0)
    order = torch.randperm(30, generator=rng("evaluation-epoch", 0))
    x, y = images[order], own[order]
    logits = build(spec, rng("evaluation-network", 0))(torch.where(box, x.flip(0), x))
    expected = 0.75 * F.cross_entropy(logits, y) + 0.25 * F.cross_entropy(logits, y.flip(0))
    torch.testing.assert_close(curve[0], expected.detach())


@pytest.mark.parametrize(("name", "flat"), [("sre2l", 0.0), ("sre2l-cifar", 0.01), ("igd", 0.01)])
def test_decay_of_biases_and_norms_is_the_protocols(problem, name, flat):
    net = build(problem[3], rng("n", 0))
    decay = {}
    for group in protocols()[name].new_optimiser(net, 1.0).param_groups:
        decay |= {id(p): group["weight_decay"] for p in group["params"]}
    for parameter in net.parameters():
        assert decay[id(parameter)] == (0.01 if parameter.ndim > 1 else flat)
