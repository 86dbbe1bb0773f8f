"""The score itself, and the decomposition that the benchmark scores with, against dense matrices."""

from __future__ import annotations

import math

import pytest
import torch
from lds import averaged, lds, network, spread
from lds_basis import dual, loss_gradients, margins, primal, products, summed
from scipy.stats import spearmanr
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from refluence.models.initialise import initialise
from support.draws import generator


def test_lds_is_spearman_per_image_with_ties():
    predicted = torch.randn(12, 5, generator=generator()).round(decimals=1)
    actual = torch.randn(12, 5, generator=generator(1))
    expected = [spearmanr(predicted[:, i], actual[:, i]).statistic for i in range(5)]
    assert lds(predicted, actual).tolist() == pytest.approx(expected, abs=1e-12)


def test_lds_knows_ranks_and_sign_only():
    actual = torch.randn(9, 3, generator=generator())
    assert lds(actual.exp(), actual).tolist() == pytest.approx([1, 1, 1])
    assert lds(-actual, actual).tolist() == pytest.approx([-1, -1, -1])
    constant = actual.clone()
    constant[:, 1] = 2.0
    assert lds(constant, actual).isnan().tolist() == [False, True, False]


def test_lds_refuses_tables_of_other_shapes():
    with pytest.raises(ValueError, match=r"\(9, 3\), \(3, 9\)"):
        lds(torch.zeros(9, 3), torch.zeros(3, 9))


def test_an_average_of_margins_weighs_by_one_over_one_minus_p():
    part = {"dot": torch.ones(2, 3), "margin": torch.tensor([-50.0, 0.0, math.log(3)])}  # 1 - p = 1, 1/2, 1/4
    assert averaged([part], "dot", "margin")[0].tolist() == pytest.approx([1, 2, 4])
    assert averaged([part, {**part, "dot": 3 * torch.ones(2, 3)}], "dot", "loss")[0].tolist() == [2, 2, 2]


def test_intervals_hold_the_mean_and_one_seed_has_none():
    truth = torch.randn(50, 500, generator=generator())
    seeds = [truth + torch.randn(50, 500, generator=generator(s)) for s in (1, 2, 3)]
    found = spread(seeds, truth)
    low, high = found["images_interval"]
    assert low < found["mean"] < high
    assert 0 < found["seeds_half_width"] < 0.1
    assert 0 < found["subsets_error"] < 0.1
    assert spread(seeds[:1], truth)["seeds_half_width"] is None


@pytest.fixture(params=["lr", "mlp"])
def problem(request):
    """Network, basis that keeps everything, inputs, labels, gradients `(n, P)` and the dense Gauss-Newton matrix."""
    net = initialise(network((6, 4) if request.param == "lr" else (6, 5, 4)), generator()).double()
    x, y = torch.randn(30, 6, generator=generator(1)).double(), torch.arange(30) % 4
    parameters = list(net.parameters())

    def flat(value):
        return parameters_to_vector(torch.autograd.grad(value, parameters, retain_graph=True))

    z = net(x)
    losses = cross_entropy(z, y, reduction="none")
    g = torch.stack([flat(each) for each in losses])
    jacobian = torch.stack([torch.stack([flat(value) for value in row]) for row in z])
    p = z.softmax(1)
    s = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    c = torch.einsum("nkp,nkl,nlq->pq", jacobian, s, jacobian).detach() / len(x)
    net = net.float().requires_grad_(False)
    basis = primal(net, x.float(), floor=1e-9) if request.param == "lr" else dual(net, x.float(), 120)
    return net, basis, x.float(), y, g, c


def test_sums_and_products_are_those_of_the_gradients(problem):
    net, _, x, y, g, _ = problem
    weights = torch.rand(30, 3, generator=generator(2))
    factors = loss_gradients(net, x, y)
    torch.testing.assert_close(products(factors, summed(factors, weights)), (g @ g.T).float() @ weights, rtol=1e-4, atol=1e-5)


def test_damped_products_are_those_of_the_dense_matrix(problem):
    net, basis, x, y, g, c = problem
    assert basis.share == pytest.approx(1, abs=1e-5)
    factors = loss_gradients(net, x, y)
    vectors = summed(factors, torch.eye(30))
    plain, left, right = products(factors, vectors), basis.of_gradients(factors), basis.of_vectors(vectors)
    for damping in (0.01, 1.0):
        rest = (plain - left.T @ right) / damping
        expected = g @ torch.linalg.solve(c + damping * torch.eye(len(c)), g.T)
        found = rest + (left / (basis.sigma + damping)[:, None]).T @ right
        torch.testing.assert_close(found, expected.float(), rtol=2e-3, atol=2e-3 * float(expected.abs().max()))


def test_the_margin_gives_the_loss_back(problem):
    net, _, x, y, _, _ = problem
    torch.testing.assert_close((1 + (-margins(net, x, y)).exp()).log().float(), cross_entropy(net(x), y, reduction="none"))
