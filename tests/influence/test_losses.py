import math

import pytest
import torch
import torch.nn.functional as F
from torch.func import hessian

from refluence.errors import InputError
from refluence.influence import scores
from refluence.influence.capture import capture
from refluence.influence.capture import cross_entropy as from_capture
from refluence.influence.losses import CrossEntropy, DistillationLoss, SquaredError, cross_entropy, take
from support.cases import make
from support.draws import generator

B, K = 6, 4


def data():
    g = generator(0)
    logits, teacher = (3 * torch.randn(B, K, generator=g, dtype=torch.float64) for _ in range(2))
    soft = torch.softmax(torch.randn(B, K, generator=g, dtype=torch.float64), 1)
    return logits, torch.tensor([0, 1, 2, 3, 0, 1]), soft, teacher


def cases():
    _, hard, soft, teacher = data()
    for temperature in (0.5, 1, 4, 20):
        for alpha in (0, 0.3, 1):
            yield DistillationLoss(temperature, alpha), (hard, teacher)
    yield DistillationLoss(3, 0.5), (soft, teacher)
    yield from [(cross_entropy, hard), (cross_entropy, soft), (SquaredError(), soft)]


@pytest.mark.parametrize("loss", [cross_entropy, DistillationLoss(4, 0.3)])
def test_the_closed_hessian_keeps_its_digits_where_a_class_is_nearly_certain(loss):
    """In single precision p u - p <p, u> had none left there, and curvatures that cannot be negative were."""
    g = generator(2)
    logits, teacher, u = (k * torch.randn(500, 10, generator=g, dtype=torch.float64) for k in (12, 12, 1))
    y = logits.argmax(1)
    targets = y if loss is cross_entropy else (y, teacher)
    want = loss.hessian(logits, targets, u)
    got = loss.hessian(logits.float(), take_float(targets), u.float())
    scale = want.abs().amax(1)
    assert float(((got.double() - want).abs().amax(1) / scale).max()) < 1e-4
    assert bool(((got * u.float()).sum(1) > 0).all())


def take_float(targets):
    return targets if isinstance(targets, torch.Tensor) else (targets[0], targets[1].float())


@pytest.mark.parametrize(("loss", "y"), list(cases()))
def test_the_closed_hessian_is_the_second_derivative_by_the_logits(loss, y):
    logits = data()[0]
    u = torch.randn(B, K, generator=generator(1), dtype=torch.float64)
    for j in range(B):
        one = take(y, slice(j, j + 1))
        dense = hessian(lambda z, one=one: loss(z[None], one)[0])(logits[j])
        got = loss.hessian(logits[j : j + 1], one, u[j : j + 1])[0]
        torch.testing.assert_close(got, dense @ u[j], rtol=1e-12, atol=1e-13)
        assert float(torch.linalg.eigvalsh(dense).min()) > -1e-12


def test_values_against_torch():
    logits, hard, soft, teacher = data()
    torch.testing.assert_close(cross_entropy(logits, hard), F.cross_entropy(logits, hard, reduction="none"))
    torch.testing.assert_close(cross_entropy(logits, soft), -(soft * torch.log_softmax(logits, 1)).sum(1))
    torch.testing.assert_close(SquaredError()(logits, soft), 0.5 * F.mse_loss(logits, soft, reduction="none").sum(1))
    t, a = 3.0, 0.25
    q = torch.softmax(teacher / t, 1)
    kl = F.kl_div(torch.log_softmax(logits / t, 1), q, reduction="none").sum(1)
    want = (1 - a) * t**2 * kl + a * F.cross_entropy(logits, hard, reduction="none")
    torch.testing.assert_close(DistillationLoss(t, a)(logits, (hard, teacher)), want)
    assert torch.equal(DistillationLoss(t, 1)(logits, (hard, teacher)), cross_entropy(logits, hard))
    assert float(DistillationLoss(t, 0)(logits, (hard, logits)).abs().max()) < 1e-14


def test_a_hot_distillation_has_the_gradient_of_matched_logits():
    """Hinton et al. 2015, eq. 4: T^2 KL -> (1/K) (z - v) for zero-mean logits as T grows."""
    logits, hard, _, teacher = data()
    z, v = logits - logits.mean(1, keepdim=True), teacher - teacher.mean(1, keepdim=True)
    z.requires_grad_()
    (g,) = torch.autograd.grad(DistillationLoss(1e4, 0)(z, (hard, v)).sum(), z)
    torch.testing.assert_close(g, (z - v).detach() / K, rtol=1e-2, atol=1e-3)


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    for loss, y in ((cross_entropy, torch.tensor([1])), (DistillationLoss(1, 0.5), (torch.tensor([1]), -logits.detach()))):
        each = loss(logits, y)
        assert bool(torch.isfinite(each).all())
        assert bool(torch.isfinite(torch.autograd.grad(each.sum(), logits)[0]).all())
        assert bool(torch.isfinite(loss.hessian(logits.detach(), y, torch.ones(1, 3))).all())


def test_the_teacher_is_a_constant():
    logits, hard, _, teacher = data()
    teacher.requires_grad_()
    logits.requires_grad_()
    each = DistillationLoss(2, 0.1)(logits, (hard, teacher))
    assert torch.autograd.grad(each.sum(), teacher, allow_unused=True) == (None,)


@pytest.mark.parametrize(
    ("make_loss", "message"),
    [
        (lambda: DistillationLoss(0, 0.5), "temperature must be > 0, got 0"),
        (lambda: DistillationLoss(math.nan, 0.5), "temperature must be > 0, got nan"),
        (lambda: DistillationLoss(1, 1.5), r"must be in \[0, 1\], got 1.5"),
        (
            lambda: DistillationLoss(1, 0.5)(torch.ones(2, 3), torch.ones(2)),
            r"needs y = \(labels, teacher logits\), got Tensor",
        ),
        (lambda: DistillationLoss(1, 0)(torch.ones(2, 3), (None, torch.ones(2, 4))), r"shape \(2, 3\), got \(2, 4\)"),
        (lambda: SquaredError()(torch.ones(2, 3), torch.ones(2)), r"shape \(2, 3\), got \(2,\)"),
    ],
)
def test_bad_arguments(make_loss, message):
    with pytest.raises(InputError, match=message):
        make_loss()


def test_take_goes_through_tuples():
    y = (torch.arange(5), torch.arange(10).view(5, 2))
    a, b = take(y, slice(1, 3))
    assert a.tolist() == [1, 2]
    assert b.tolist() == [[2, 3], [4, 5]]
    assert take(y[0], torch.tensor([4, 0])).tolist() == [4, 0]


def test_there_is_one_cross_entropy():
    assert from_capture is cross_entropy
    assert cross_entropy == CrossEntropy()


@pytest.mark.parametrize("chunk", [3, 64])
def test_capture_takes_targets_that_are_tuples(chunk):
    case = make("instance")
    teacher = torch.randn(len(case.x), 3, generator=generator(2), dtype=torch.float64)
    loss, y = DistillationLoss(2, 0.3), (case.y, teacher)
    taken = capture(case.model, case.x, y, loss=loss, chunk=chunk)
    torch.testing.assert_close(taken.losses, loss(case.model(case.x), y).detach())
    v = case.direction()
    want = scores(case.model, case.x, y, v, loss=loss, engine="ghost", chunk=64)
    torch.testing.assert_close(taken.scores(v), want, rtol=1e-11, atol=1e-12)
