"""Prediction in chunks equals the whole at once, and leaves no trace."""

import pytest
import torch
from torch import nn

from refluence.training.predict import evaluating, predict

X = torch.arange(14.0).view(7, 2)


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunks_are_the_whole(chunk, even):
    sizes = []

    def square(x):
        sizes.append(len(x))
        return x.square()

    assert torch.equal(predict(square, X.__getitem__, len(X), chunk, even=even), X.square())
    assert sum(sizes) == 7 if not even else set(sizes) == {min(chunk, 7)}


def test_nothing_is_differentiated_and_results_serve_in_training():
    net = nn.Linear(2, 3)
    found = predict(net, X.__getitem__, len(X), 2)
    assert not found.requires_grad
    net(X).mul(found).sum().backward()  # a tensor of inference mode would be refused
    assert net.weight.grad is not None


def test_what_a_function_draws_has_its_own_seed_or_the_callers():
    def noisy(x):
        return x + torch.randn(x.shape)

    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(predict(noisy, X.__getitem__, len(X), 3))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*found)
    torch.manual_seed(1)
    expected = torch.cat([noisy(part) for part in X.split(3)])
    torch.manual_seed(1)
    assert torch.equal(predict(noisy, X.__getitem__, len(X), 3, seed=None), expected)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_put_back_whatever_happens(training):
    net = nn.Sequential(nn.Dropout(0.5)).train(training)
    with evaluating(net):
        assert not net[0].training
    assert net.training == net[0].training == training
    with pytest.raises(ZeroDivisionError), evaluating(net):
        1 / 0  # noqa: B018
    assert net.training == net[0].training == training


def test_a_part_that_is_kept_in_evaluation_mode_stays_in_it():
    net = nn.Sequential(nn.BatchNorm1d(2).eval(), nn.Dropout(0.5))
    with evaluating(net):
        assert not net[1].training
    assert [m.training for m in net.modules()] == [True, False, True]
