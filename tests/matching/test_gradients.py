"""The gradient statistic: weighted means in chunks, and per-sample gradients, against plain autograd in float64."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from refluence.matching.gradients import per_sample_gradients, real_gradient, synthetic_gradient
from support.cases import make

NORMS = ["instance", "group", "batch", "layer", "none"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("chunk", [3, 64])
def test_real_gradient_is_the_weighted_mean(norm, chunk):
    case = make(norm)
    names = [n for n, p in case.model.named_parameters() if p.dim() > 1]
    wanted = [case.named()[n] for n in names]
    omega = torch.linspace(0, 2, len(case.x), dtype=torch.float64)
    for weights in (None, omega):
        scale = torch.ones(len(case.x), dtype=torch.float64) if weights is None else weights
        expected = torch.autograd.grad((scale * case.losses()).mean(), wanted)
        found = real_gradient(case.model, case.x, case.y, names, weights, chunk)
        for name, gradient in zip(names, expected, strict=True):
            torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("norm", NORMS)
def test_weights_of_one_are_the_plain_mean(norm):
    case = make(norm)
    names = list(case.named())
    plain = real_gradient(case.model, case.x, case.y, names)
    ones = real_gradient(case.model, case.x, case.y, names, torch.ones(len(case.x), dtype=torch.float64))
    for name in names:
        torch.testing.assert_close(ones[name], plain[name], rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("norm", NORMS)
def test_per_sample_gradients_are_those_of_single_samples(norm):
    case = make(norm)
    names = list(case.named())
    for part, gradients in per_sample_gradients(case.model, case.x, case.y, names, chunk=4):
        for k, j in enumerate(range(len(case.x))[part]):
            loss = cross_entropy(case.model(case.x[j : j + 1]), case.y[j : j + 1])
            for name, expected in zip(names, torch.autograd.grad(loss, list(case.named().values())), strict=True):
                torch.testing.assert_close(gradients[name][k], expected, rtol=1e-10, atol=1e-13)


def test_synthetic_gradient_leads_back_to_the_images():
    case = make("instance")
    x = case.x.clone().requires_grad_()
    a = synthetic_gradient(case.model, x, case.y, list(case.named()))
    (back,) = torch.autograd.grad(sum(t.square().sum() for t in a.values()), x)
    assert back.abs().max() > 0
