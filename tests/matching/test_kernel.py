"""The kernel discrepancy: double sums, the witness, and central differences by weights and rows in float64."""

import pytest
import torch

from refluence.errors import InputError
from refluence.matching.discrepancies import Squared, second_derivative
from refluence.matching.features import mean_statistic
from refluence.matching.kernel import MMD, RBF, linear, median_bandwidth, sample
from support.draws import generator

KERNELS = [linear, RBF(1.7)]
N, H = 8, 1e-5


def sides():
    g = generator(0)
    syn, real = (torch.randn(n, 5, generator=g, dtype=torch.float64) for n in (3, N))
    w = torch.softmax(torch.randn(N, generator=g, dtype=torch.float64), 0)
    return syn, real, w


@pytest.mark.parametrize("kernel", KERNELS, ids=["linear", "rbf"])
def test_value_is_the_double_sum(kernel):
    syn, real, w = sides()
    k = (lambda x, y: float(x @ y)) if kernel is linear else (lambda x, y: float((-(x - y).square().sum() / 5.78).exp()))
    points = [(1 / 3, x) for x in syn] + [(-float(wi), x) for wi, x in zip(w, real, strict=True)]
    want = sum(u * v * k(x, y) for u, x in points for v, y in points)
    got = MMD(kernel).value(sample(syn), sample(real, N * w))
    torch.testing.assert_close(float(got), want, rtol=1e-11, atol=0)


@pytest.mark.parametrize("kernel", KERNELS, ids=["linear", "rbf"])
def test_witness_is_the_derivative_by_the_weight(kernel):
    syn, real, w = sides()
    D, a, b = MMD(kernel), sample(syn), sample(real, N * w)
    got = D.witness(a, b, real)
    closed = 2 * (w @ kernel(real, real) - kernel(syn, real).mean(0))
    torch.testing.assert_close(got, closed, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(got, second_derivative(D, a, b)[1]["weights"], rtol=1e-12, atol=1e-13)
    steps = H * torch.eye(N, dtype=torch.float64)
    ups, downs = (torch.stack([D.value(a, sample(real, N * (w + s * e))) for e in steps]) for s in (1, -1))
    torch.testing.assert_close(got, (ups - downs) / (2 * H), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS, ids=["linear", "rbf"])
def test_witness_of_an_instance_that_is_not_in_the_sample(kernel):
    """Its weight starts at zero."""
    syn, real, w = sides()
    D, a, more = MMD(kernel), sample(syn), torch.randn(2, 5, generator=generator(9), dtype=torch.float64)
    got = D.witness(a, sample(real, N * w), more)
    rows = torch.cat([real, more])
    for j in range(2):
        values = []
        for sign in (1, -1):
            weights = torch.cat([w, torch.zeros(2)])
            weights[N + j] += sign * H
            values.append(D.value(a, {"rows": rows, "weights": weights}))
        torch.testing.assert_close(got[j], (values[0] - values[1]) / (2 * H), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS, ids=["linear", "rbf"])
def test_lemma_a_holds_for_a_quadratic_objective_too(kernel):
    syn, real, w = sides()
    D, a = MMD(kernel), sample(syn)
    witness = D.witness(a, sample(real, N * w), real)
    steps = H * torch.eye(N, dtype=torch.float64)
    values = []
    for sign in (1, -1):
        nudged = [(w + sign * e) / (1 + sign * H) for e in steps]
        values.append(torch.stack([D.value(a, sample(real, N * u)) for u in nudged]))
    torch.testing.assert_close((values[0] - values[1]) / (2 * H), witness - witness @ w, rtol=1e-6, atol=1e-9)


def test_the_linear_kernel_compares_means():
    syn, real, w = sides()
    a, b = mean_statistic({"f": syn}), mean_statistic({"f": real}, N * w)
    torch.testing.assert_close(MMD(linear).value(sample(syn), sample(real, N * w)), Squared().value(a, b), rtol=1e-11, atol=0)


def test_bandwidth_and_bad_input():
    syn, real, _ = sides()
    distances = torch.cdist(syn, real)
    assert float((distances < median_bandwidth(syn, real)).double().mean()) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(InputError, match=r"above 0, got 0\.0"):
        RBF(0.0)
    with pytest.raises(InputError, match=r"omega \(n,\)"):
        sample(real, torch.ones(2))
