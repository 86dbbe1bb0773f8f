import copy
import math
import re

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import nn

from refluence.influence import effective_sample_size, validation_influence
from refluence.influence.curvature import Curvature
from refluence.influence.weighting import Weighting
from refluence.influence.weighting import weights as linked
from refluence.transfer.losses import StudentLoss
from refluence.transfer.watch import Watched, chi_square, one_step_gain, remedy, watch, worst_case_risk
from support.draws import generator

LOSSES = torch.tensor([0.1, 0.5, 0.7, 1.5, 2.0, 4.0], dtype=torch.float64)
DELTAS = (0.01, 0.1, 0.3, 1.0, 2.0, 2.6, 10.0)


def dual(eta, delta):
    over = (LOSSES - eta).clamp_min(0)
    return math.sqrt(2 * delta + 1) * float(over.square().mean().sqrt()) + eta


@pytest.mark.parametrize("delta", DELTAS)
def test_the_worst_case_is_the_dual_on_a_grid_and_the_primal_by_scipy(delta):
    got = worst_case_risk(LOSSES, delta)
    grid = min(dual(float(eta), delta) for eta in torch.linspace(-20, 4, 24001, dtype=torch.float64))
    assert got <= grid + 1e-12
    assert got == pytest.approx(grid, abs=1e-5)
    n, losses = len(LOSSES), LOSSES.numpy()
    found = minimize(
        lambda q: -q @ losses,
        [1 / n] * n,
        jac=lambda q: -losses,
        bounds=[(0, 1)] * n,
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1},
            {"type": "ineq", "fun": lambda q: delta - 0.5 * ((n * q - 1) ** 2).mean()},
        ],
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert got == pytest.approx(-found.fun, abs=1e-5)


def test_the_ends_of_the_worst_case():
    assert worst_case_risk(LOSSES, 0.0) == pytest.approx(float(LOSSES.mean()))
    assert worst_case_risk(LOSSES, 1e6) == pytest.approx(4.0)
    assert worst_case_risk(torch.full((3,), 2.0), 1.0) == 2.0
    small = float(LOSSES.mean() + (2 * 0.01 * LOSSES.var(correction=0)).sqrt())
    assert worst_case_risk(LOSSES, 0.01) == pytest.approx(small)
    assert worst_case_risk(torch.tensor([0.0, 1.0, 1.0, 1.0]), 5.0) == pytest.approx(1.0)


def test_no_weights_do_worse_than_the_worst_case_at_their_own_distance():
    for seed in range(20):
        w = torch.rand(6, generator=generator(seed), dtype=torch.float64).pow(1 + seed)
        assert float((w / w.sum() * LOSSES).sum()) <= worst_case_risk(LOSSES, chi_square(w)) + 1e-12


def test_chi_square_is_half_the_mean_square_and_a_function_of_the_share_in_effect():
    w = torch.tensor([0.5, 1.0, 1.5, 3.0])
    assert chi_square(w) == pytest.approx(0.5 * sum((v / 1.5 - 1) ** 2 for v in (0.5, 1.0, 1.5, 3.0)) / 4)
    assert chi_square(7 * w) == pytest.approx(chi_square(w))
    assert chi_square(torch.ones(5)) == 0
    assert chi_square(torch.tensor([0.0, 0, 0, 3, 0])) == chi_square(torch.zeros(5)) == 2
    assert 1 / (1 + 2 * chi_square(w)) == pytest.approx(effective_sample_size(w))


def problem(seed=0):
    g = generator(seed)
    net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
    x, *others = (torch.randn(n, 3, generator=g, dtype=torch.float64) for n in (16, 12, 10))
    t = torch.randn(16, 3, generator=g, dtype=torch.float64)
    y, *ys = (torch.randint(3, (n,), generator=g) for n in (16, 12, 10))
    return net, x, (y, t), (others[0], ys[0]), (others[1], ys[1])


def test_a_gain_is_the_risk_after_torchs_own_step_with_weights_less_that_without():
    net, x, y, first, second = problem()
    loss, w = StudentLoss("kd", 0.5, 2.0), 0.1 + torch.rand(16, generator=generator(5), dtype=torch.float64)

    def risk(weights, half):
        moved = copy.deepcopy(net).eval()
        optimiser = torch.optim.SGD(moved.parameters(), lr=0.3)
        (weights * loss(moved(x), y)).mean().backward()
        optimiser.step()
        return float(F.cross_entropy(moved(half[0]), half[1]).detach())

    got = one_step_gain(net, x, y, loss, 0.3, w, (first, second))
    ones = torch.ones_like(w)
    for gain, half in zip(got, (first, second), strict=True):
        assert gain == pytest.approx(risk(w / w.mean(), half) - risk(ones, half), rel=1e-9)
        assert abs(gain) > 1e-6
    assert net.training
    assert one_step_gain(net, x, y, loss, 0.3, 2 * ones, (first, second)) == (0.0, 0.0)
    none = one_step_gain(net, x, y, loss, 0.3, 0 * ones, (first, second))
    assert none[0] == pytest.approx(risk(0 * ones, first) - risk(ones, first), rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("link", ["sigmoid", "exp", "softmax"])
def test_with_identity_curvature_the_half_that_made_the_weights_never_loses(link, seed):
    """Theorem 1 for a small rate, and why it proves nothing there: its weights were made from that half."""
    net, x, y, weighing, watching = problem(seed)
    net.eval()
    loss = StudentLoss("kd", 0.5, 2.0)

    def risk(logits, labels):
        return F.cross_entropy(logits, labels, reduction="none")

    phi = validation_influence(net, [(x, y)], [weighing], loss=loss, risk=risk, curvature=Curvature("identity")).scores
    w = linked(phi, Weighting("influence", link=link, sign=-1, bag="all", standardise="mad"))
    gains = one_step_gain(net, x, y, loss, 1e-4, w, (weighing, watching))
    assert gains[0] <= 0
    against = linked(-phi, Weighting("influence", link=link, sign=-1, bag="all", standardise="mad"))
    worse = one_step_gain(net, x, y, loss, 1e-4, against, (weighing, watching))
    assert worse[0] > 0


def test_what_is_watched_at_a_scoring():
    w, losses = torch.tensor([0.5, 1.0, 1.5, 1.8]), torch.tensor([4.0, 2.0, 1.0, 0.5])
    got = watch(w, losses, (-0.1, 0.2))
    assert isinstance(got, Watched)
    assert got.below_one == 0.25  # of the link's own values, whose mean is 1.2
    assert got.ess == effective_sample_size(w)
    assert got.chi_square == chi_square(w)
    assert got.worst_case == worst_case_risk(losses, chi_square(w))
    assert got.correlation == pytest.approx(float(torch.corrcoef(torch.stack([w, losses]))[0, 1]))
    assert (got.gain_weighing, got.gain_watching) == (-0.1, 0.2)
    assert watch(torch.ones(4), losses, (0.0, 0.0)).correlation == 0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(100) + 0.01 * torch.linspace(-1, 1, 100), "nearly uniform .* near zero: a smaller tau, standardise=mad"),
        (torch.tensor([1e4] + [1.0] * 99), "explode .* 99 times the mean.* larger tau, standardise=mad or link=sigmoid"),
        (torch.tensor([1.0] * 4 + [0.0] * 96), "starve .* 4.0 %.* larger tau"),
        (torch.tensor([1.0, math.inf]), "not finite: a smaller lr"),
        (torch.tensor([1.0, math.nan]), "not finite: a smaller lr"),
        (torch.zeros(5), "no instance has a weight above 0"),
    ],
)  # fmt: skip
def test_weights_that_say_nothing_or_too_much_have_a_remedy(weights, message):
    assert re.search(message, remedy(weights))
    assert remedy(torch.linspace(0.2, 1.8, 50)) is None
