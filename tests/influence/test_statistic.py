"""Each statistic, by its protocol: on one batch and over many it is the same, by plain autograd of one instance, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from refluence.influence import Gradients, Means, Samples, SquaredError, cross_entropy
from refluence.influence.rows import gradient_norms
from refluence.matching import MMD, RBF, Statistic, Waves, embedding
from refluence.matching.discrepancies import second_derivative

N = 7


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.classifier = nn.Linear(4, 5), nn.Linear(5, 3)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x).tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().double()


def batch(n: int = N, seed: int = 0, soft: bool = False) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 4, generator=g, dtype=torch.float64), torch.randint(3, (n,), generator=g)
    return x, torch.randn(n, 3, generator=g, dtype=torch.float64) if soft else y


def gradient(names: tuple[str, ...] | None, loss: Callable[..., Tensor]):
    def one(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        wanted = {k: p for k, p in net.named_parameters() if names is None or k in names}
        return dict(zip(wanted, torch.autograd.grad(loss(net(x[None]), y[None]).sum(), list(wanted.values())), strict=True))

    return one


def waves(t: Tensor):
    def one(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        f = net.features(x)
        angle = t.to(f) @ (f / f.norm())
        return {"real": angle.cos(), "imag": angle.sin()}

    return one


WEIGHTS = ("body.weight", "classifier.weight")
CASES: dict[str, tuple[Callable[[], Statistic], Callable[..., dict[str, Tensor]], bool]] = {
    "gradients": (Gradients, gradient(None, cross_entropy), False),
    "of some": (lambda: Gradients(WEIGHTS), gradient(WEIGHTS, cross_entropy), False),
    "another loss": (lambda: Gradients(WEIGHTS, SquaredError()), gradient(WEIGHTS, SquaredError()), True),
    "features": (lambda: Means(embedding), lambda net, x, y: {"features": net.features(x)}, False),
    "waves": (
        lambda: Means(Waves(6, torch.Generator().manual_seed(5))),
        waves(torch.randn(6, 5, generator=torch.Generator().manual_seed(5))),
        False,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_batch_and_many_are_sums_over_instances(net, name):
    make, one, soft = CASES[name]
    statistic, (x, y) = make(), batch(soft=soft)
    phi = [{k: t.detach() for k, t in one(net, a, b).items()} for a, b in zip(x, y, strict=True)]
    omega = torch.linspace(0.2, 1.8, N, dtype=torch.float64)
    v = {k: torch.randn_like(t) for k, t in phi[0].items()}
    plain = {k: torch.stack([p[k] for p in phi]).mean(0) for k in v}
    weighted = {k: torch.stack([o * p[k] for o, p in zip(omega, phi, strict=True)]).mean(0) for k in v}
    dots = torch.stack([sum((p[k] * v[k]).sum() for k in v) for p in phi])

    def same(found, expected):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)

    measured = statistic.measure(net, x, y)
    same(measured.gradient(), plain)
    same(measured.gradient(omega), weighted)
    same(measured.scores(v), dots)
    loss = SquaredError() if soft else cross_entropy
    same(measured.losses, loss(net(x), y).detach())
    cut = [(x[:3], y[:3], omega[:3]), (x[3:], y[3:], omega[3:])]
    same(statistic.mean(net, cut), weighted)
    same(statistic.mean(net, [(x, y)]), plain)
    same(statistic.scores(net, cut, v), dots)
    found = {k: torch.empty(N, *t.shape, dtype=t.dtype) for k, t in v.items()}
    for part, rows in statistic.each(net, x, y):
        for k, t in rows.items():
            found[k][part] = t.detach()
    same(found, {k: torch.stack([p[k] for p in phi]) for k in v})


@pytest.mark.parametrize("name", CASES)
def test_the_synthetic_side_has_the_value_of_the_mean_and_leads_back_to_the_images(net, name):
    make, _, soft = CASES[name]
    statistic, (x, y) = make(), batch(3, soft=soft)
    x.requires_grad_()
    a = statistic.synthetic(net, x, y)
    torch.testing.assert_close(
        {k: t.detach() for k, t in a.items()}, statistic.mean(net, [(x.detach(), y)]), rtol=1e-9, atol=1e-12
    )
    v = {k: torch.randn_like(t) for k, t in a.items()}
    (found,) = torch.autograd.grad(sum((a[k] * v[k]).sum() for k in v), x)
    h = 1e-6
    for i, j in ((0, 1), (2, 3)):
        step = torch.zeros_like(x)
        step[i, j] = h
        up, down = (sum((statistic.mean(net, [(x.detach() + s * step, y)])[k] * v[k]).sum() for k in v) for s in (1, -1))
        torch.testing.assert_close(found[i, j], (up - down) / (2 * h), rtol=1e-6, atol=1e-8)


def test_a_measured_sample_scores_by_the_derivative_of_its_weights(net):
    statistic, distance = Samples(lambda net, x: net.features(x)), MMD(RBF(1.5))
    (x, y), (s, t) = batch(), batch(3, seed=1)
    a, measured = statistic.synthetic(net, s, t), statistic.measure(net, x, y)
    omega = torch.linspace(0.2, 1.8, N, dtype=torch.float64)
    torch.testing.assert_close(
        measured.gradient(omega), statistic.mean(net, [(x[:2], y[:2], omega[:2]), (x[2:], y[2:], omega[2:])])
    )
    b = measured.gradient()
    scores, h = measured.scores(second_derivative(distance, a, b)[1]), 1e-6
    for j in range(N):
        up, down = ({**b, "weights": b["weights"] + s * h * torch.eye(N, dtype=torch.float64)[j]} for s in (1, -1))
        expected = (distance.value(a, up) - distance.value(a, down)) / (2 * h)
        torch.testing.assert_close(scores[j], expected.detach(), rtol=1e-6, atol=1e-9)
    ((part, each),) = statistic.each(net, x, y)
    assert part == slice(0, N)
    alone = torch.vmap(lambda phi: distance.value({k: t.detach() for k, t in a.items()}, phi))(each)
    for j in range(N):
        torch.testing.assert_close(alone[j], distance.value(a, statistic.mean(net, [(x[j : j + 1], y[j : j + 1])])).detach())


def test_difficulty_is_the_norm_of_the_gradient(net):
    x, y = batch()
    one = gradient(WEIGHTS, cross_entropy)
    expected = torch.stack(
        [torch.cat([g.flatten() for g in one(net, a, b).values()]).norm() for a, b in zip(x, y, strict=True)]
    )
    torch.testing.assert_close(gradient_norms(net, x, y, WEIGHTS), expected, rtol=1e-6, atol=0)
