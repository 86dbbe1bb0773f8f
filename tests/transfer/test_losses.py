import math

import pytest
import torch
import torch.nn.functional as F
from torch.func import hessian

from refluence.errors import InputError
from refluence.functional import jvp
from refluence.influence import scores
from refluence.influence.capture import capture
from refluence.influence.losses import DistillationLoss, cross_entropy, take
from refluence.transfer.losses import KINDS, Rising, StudentLoss, dkd, kd, mse, teacher_loss
from support.cases import make
from support.draws import generator

B, C = 6, 4


def data():
    g = generator(0)
    student, teacher = (3 * torch.randn(B, C, generator=g, dtype=torch.float64) for _ in range(2))
    return student, teacher, torch.tensor([0, 1, 2, 3, 0, 1])


def literal_dkd(z, t, y, temperature, beta):
    """Eq. 7 of the paper for one instance, by sums over classes."""
    p, q = torch.softmax(z / temperature, 0), torch.softmax(t / temperature, 0)
    tckd = q[y] * (q[y] / p[y]).log() + (1 - q[y]) * ((1 - q[y]) / (1 - p[y])).log()
    nckd = sum(q[c] / (1 - q[y]) * (q[c] / (1 - q[y]) / (p[c] / (1 - p[y]))).log() for c in range(C) if c != y)
    return temperature**2 * (tckd + beta * nckd)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_losses_are_their_equations(temperature):
    z, t, y = data()
    p, q = torch.softmax(z / temperature, 1), torch.softmax(t / temperature, 1)
    torch.testing.assert_close(kd(z, t, temperature), temperature**2 * (q * (q / p).log()).sum(1))
    want = torch.stack([literal_dkd(z[i], t[i], int(y[i]), temperature, 8.0) for i in range(B)])
    torch.testing.assert_close(dkd(z, t, y, temperature, 8.0), want)
    torch.testing.assert_close(mse(z, t), ((z - t) ** 2).sum(1) / (2 * C))
    soft, hard = torch.softmax(z, 1), torch.softmax(t, 1)
    want = 0.3 * (soft * (soft / hard).log()).sum(1) - 0.7 * hard.gather(1, y[:, None])[:, 0].log()
    torch.testing.assert_close(teacher_loss(t, z, y, 0.3), want)


def test_kd_is_the_target_part_and_the_rest_times_what_the_teacher_leaves_it():
    z, t, y = data()
    left = 1 - torch.softmax(t / 4, 1).gather(1, y[:, None])[:, 0]
    each = torch.stack([dkd(z, t, y, 4.0, float(beta))[i] for i, beta in enumerate(left)])
    torch.testing.assert_close(kd(z, t, 4.0), each)


def test_the_students_loss_mixes_with_the_labels():
    z, t, y = data()
    hard = F.cross_entropy(z, y, reduction="none")
    for kind, soft in (("kd", kd(z, t, 3.0)), ("dkd", dkd(z, t, y, 3.0, 2.0)), ("mse", mse(z, t))):
        torch.testing.assert_close(StudentLoss(kind, 0.2, 3.0, 2.0)(z, (y, t)), 0.8 * soft + 0.2 * hard)
        assert torch.equal(StudentLoss(kind, 1.0, 3.0)(z, (y, torch.full_like(t, math.nan))), cross_entropy(z, y))
    assert torch.equal(StudentLoss("kd", 0.2, 3.0)(z, (y, t)), DistillationLoss(3.0, 0.2)(z, (y, t)))
    assert torch.equal(StudentLoss("kd", 0.0, 3.0)(z, (torch.full((B,), -1), t)), kd(z, t, 3.0))


def test_imitation_reaches_its_weight_in_equal_parts():
    z, t = (torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    y = torch.tensor([0, 1, 2, 0]), t
    whole = StudentLoss("dkd", 0.3, 2.0, 1.5)
    hard, u = StudentLoss(alpha=1.0), torch.ones_like(z) * torch.arange(3)
    rising = Rising(whole, 4)
    for epoch, share in enumerate((0.25, 0.5, 0.75, 1.0, 1.0)):
        rising.begin(epoch)
        for value, full, label in (
            (rising(z, y), whole(z, y), hard(z, y)),
            (rising.hessian(z, y, u), whole.hessian(z, y, u), hard.hessian(z, y, u)),
        ):
            torch.testing.assert_close(value, share * (full - 0.3 * label) + 0.3 * label)
    assert torch.equal(rising(z, y), whole(z, y)), "the same bits"


def test_a_temperature_does_not_change_the_size_of_gradients():
    """T^2: without it the gradient would fall by 1/T^2; with it, it tends to that of mse on logits of mean 0."""
    z, t, y = data()
    z, t = (v - v.mean(1, keepdim=True) for v in (z, t))

    def slope(loss):
        at = z.clone().requires_grad_()
        return torch.autograd.grad(loss(at).sum(), at)[0]

    torch.testing.assert_close(slope(lambda at: kd(at, t, 1e4)), slope(lambda at: mse(at, t)), rtol=1e-2, atol=1e-3)
    cool, hot = (slope(lambda at, T=T: dkd(at, t, y, T, 1.0)).norm() for T in (10.0, 1000.0))
    assert 0.5 < float(hot / cool) < 2


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_every_kind_of_differentiation(kind):
    z, t, y = data()
    loss = StudentLoss(kind, 0.3, 2.0, 1.5)
    assert torch.autograd.gradcheck(lambda a, b: loss(a, (y, b)), (z.clone().requires_grad_(), t.clone().requires_grad_()))
    assert torch.autograd.gradgradcheck(lambda a, b: loss(a, (y, b)), (z.clone().requires_grad_(), t.clone().requires_grad_()))
    u = torch.randn(B, C, generator=generator(1), dtype=torch.float64)
    at = z.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(at, (y, t)).sum(), at)
    torch.testing.assert_close(jvp(lambda a: loss(a, (y, t)), (z,), (u,))[1], (g * u).sum(1))
    each = torch.vmap(torch.func.grad(lambda a, b, c: loss(a[None], (b[None], c[None]))[0]))(z, y, t)
    torch.testing.assert_close(each, g)


@pytest.mark.parametrize("loss", [StudentLoss(kind, 0.3, 2.0, 1.5) for kind in KINDS] + [StudentLoss("dkd", 0.0, 4.0, 0.0)])
def test_the_closed_hessian_is_the_second_derivative_by_the_logits(loss):
    z, t, y = data()
    for j in range(B):
        one = take((y, t), slice(j, j + 1))
        dense = hessian(lambda a, one=one: loss(a[None], one)[0])(z[j])
        got = torch.stack([loss.hessian(z[j : j + 1], one, u[None])[0] for u in torch.eye(C, dtype=torch.float64)])
        assert float(torch.linalg.eigvalsh(got).min()) > -1e-12
        if float(torch.linalg.eigvalsh(dense).min()) > -1e-12:
            torch.testing.assert_close(got, dense, rtol=1e-11, atol=1e-12)
        else:
            assert (loss.kind, loss.beta) == ("dkd", 0)


@pytest.mark.parametrize("engine", ["ghost", "forward", "double_backward", "single"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_engine_takes_them(kind, engine):
    case = make("instance")
    y = (case.y, torch.randn(len(case.x), 3, generator=generator(2), dtype=torch.float64))
    loss, v = StudentLoss(kind, 0.3, 2.0), case.direction()
    parts = []
    for j in range(len(case.x)):
        one = loss(case.model(case.x[j : j + 1]), take(y, slice(j, j + 1)))[0]
        each = torch.autograd.grad(one, list(case.model.parameters()))
        parts.append(sum((g * v[name]).sum() for (name, _), g in zip(case.model.named_parameters(), each, strict=True)))
    want = torch.stack(parts)
    torch.testing.assert_close(scores(case.model, case.x, y, v, loss=loss, engine=engine), want, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(capture(case.model, case.x, y, loss=loss).scores(v), want, rtol=1e-9, atol=1e-10)


def test_the_students_part_of_the_teachers_loss_is_a_constant():
    z, t, y = (part.requires_grad_() if part.is_floating_point() else part for part in data())
    each = teacher_loss(t, z, y, 0.5)
    assert torch.autograd.grad(each.sum(), z, allow_unused=True) == (None,)


def test_extreme_logits_stay_finite():
    z = torch.tensor([[1e4, -1e4, 0.0], [50.0, -50.0, 0.0]], requires_grad=True)
    y = torch.tensor([0, 1]), torch.tensor([[1e4, 0.0, -1e4], [1e4, 1e4, -1e4]])
    for kind in KINDS:
        loss = StudentLoss(kind, 0.5, 1.0)
        each = loss(z, y)
        assert bool(torch.isfinite(each).all())
        assert bool(torch.isfinite(torch.autograd.grad(each.sum(), z)[0]).all())
        assert bool(torch.isfinite(loss.hessian(z.detach(), y, torch.ones(2, 3))).all())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: StudentLoss("hinton"), "loss must be one of kd, dkd, mse, got 'hinton'"),
        (lambda: StudentLoss("kd", 1.5), r"must be in \[0, 1\], got 1.5"),
        (lambda: StudentLoss("kd", 0.5, math.nan), "temperature must be > 0, got nan"),
        (lambda: StudentLoss("dkd", 0.5, 1.0, -1.0), "beta must be >= 0, got -1.0"),
        (lambda: StudentLoss()(torch.ones(2, 3), torch.ones(2)), r"needs y = \(labels, teacher logits\), got Tensor"),
        (lambda: StudentLoss()(torch.ones(2, 3), (torch.ones(2), torch.ones(2, 4))), r"shape \(2, 3\), got \(2, 4\)"),
    ],
)
def test_bad_arguments(act, message):
    with pytest.raises(InputError, match=message):
        act()
