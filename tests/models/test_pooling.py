"""The mean of 2 x 2 pixels: the same bits as PyTorch's pool, forwards, backwards, twice and in forward mode."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.func import grad, jvp, vmap

from refluence.models import pooling
from refluence.models.pooling import Halve, plain_pooling


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(pooling, "WORTH", 0)


@pytest.mark.parametrize("shape", [(2, 32, 8, 8), (3, 5, 9, 7), (1, 3, 2, 3), (4, 24, 16, 16)])
def test_bits_are_those_of_the_average_pool(shape):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=g)
    x[0, 0, 0, 0] = -0.0
    found = []
    for pool in (Halve(), lambda x: F.avg_pool2d(x, 2)):
        at = x.clone().requires_grad_()
        out = pool(at)
        first = torch.autograd.grad((out.sin() * out).sum(), at, create_graph=True)[0]
        second = torch.autograd.grad(first.square().sum(), at)[0]
        along = jvp(pool, (x,), (x.cos(),))[1]
        each = vmap(grad(lambda x, pool=pool: pool(x[None]).square().sum()))(x)
        found.append((out, first, second, along, each))
    for ours, want in zip(*found, strict=True):
        assert torch.equal(ours, want)


def test_it_is_a_convolution_on_the_cpu_in_float32_alone():
    x = torch.ones(2, 4, 4, 4, requires_grad=True)
    assert "Convolution" in type(Halve()(x).grad_fn).__name__
    assert "AvgPool" in type(Halve()(x.double()).grad_fn).__name__
    with plain_pooling():
        assert "AvgPool" in type(Halve()(x).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16):
        assert "AvgPool" in type(Halve()(x).grad_fn).__name__


def test_a_pixel_that_is_not_finite_stays_in_its_place():
    x = torch.zeros(1, 2, 4, 4)
    x[0, 0, 0, 0] = float("inf")
    assert torch.equal(Halve()(x), F.avg_pool2d(x, 2))
