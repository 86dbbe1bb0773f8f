"""A teacher's step against brute force, in float64 on tiny pairs: batch norm, weight norm, tied weights, frozen parts."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from refluence.errors import InputError
from refluence.functional import call_at
from refluence.influence.losses import take
from refluence.influence.parameters import add, dot, scaled
from refluence.transfer.losses import StudentLoss, teacher_loss
from refluence.transfer.teacher_step import GRADIENTS, look_ahead, teacher_gradient
from support.draws import generator

B, V, D, C, LR, ALPHA = 5, 4, 3, 3, 0.7, 0.4


class Tied(nn.Module):
    """Batch norm with statistics of its own, weight norm, dropout, a weight that two layers share, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(D, C)
        self.norm = nn.BatchNorm1d(C)
        self.mix = parametrizations.weight_norm(nn.Linear(C, C))
        self.drop = nn.Dropout(0.5)
        self.again = nn.Linear(C, C)
        self.again.weight = self.first.weight
        self.register_buffer("shift", torch.linspace(-1, 1, C))

    def forward(self, x):
        return self.again(self.drop(torch.tanh(self.mix(self.norm(self.first(x)) + self.shift))))


def drawn(net, seed):
    g = generator(seed)
    with torch.no_grad():
        for t in [*net.parameters(), *net.buffers()]:
            if t.is_floating_point():
                t.copy_(0.3 + torch.rand(t.shape, generator=g, dtype=torch.float64))
    return net


def pair(kind="kd"):
    teacher = nn.Sequential(nn.Linear(D, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, C))
    networks = drawn(teacher.double(), 1), drawn(Tied().double(), 2)
    g = generator(3)
    x, xv = (torch.randn(n, D, generator=g, dtype=torch.float64) for n in (B, V))
    y, yv = (torch.randint(C, (n,), generator=g) for n in (B, V))
    w, wt = (2 * torch.rand(B, generator=g, dtype=torch.float64) for _ in range(2))
    return networks, (x, y), (xv, yv), (w, wt), StudentLoss(kind, 0.3, 2.0)


def stepped(student, teacher_logits, x, y, loss, w):
    """A copy of the student after one step of torch's own SGD, in evaluation mode."""
    moved = copy.deepcopy(student).eval()
    optimiser = torch.optim.SGD(moved.parameters(), lr=LR)
    (w * loss(moved(x), (y, teacher_logits))).mean().backward()
    optimiser.step()
    return moved


@pytest.mark.parametrize("kind", ["kd", "dkd", "mse"])
def test_the_step_ahead_is_that_of_sgd(kind):
    (teacher, student), (x, y), _, (w, _), loss = pair(kind)
    t = teacher.eval()(x).detach()
    before = copy.deepcopy(student.state_dict())
    ahead = look_ahead(student, x, (y, t), loss, LR, w)
    want = dict(stepped(student, t, x, y, loss, w).named_parameters())
    assert ahead.keys() == want.keys()
    for name, p in ahead.items():
        torch.testing.assert_close(p, want[name].detach(), rtol=1e-12, atol=1e-13)
        assert not p.requires_grad
    even = look_ahead(student, x, (y, t), loss, LR)
    torch.testing.assert_close(even, look_ahead(student, x, (y, t), loss, LR, torch.ones(B, dtype=torch.float64)))
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(p.grad is None for p in student.parameters())


def test_what_is_frozen_does_not_move():
    (teacher, student), (x, y), validation, (w, wt), loss = pair()
    student.mix.requires_grad_(False)
    teacher[0].requires_grad_(False)
    ahead = look_ahead(student, x, (y, teacher.eval()(x).detach()), loss, LR, w)
    assert set(ahead) == {name for name, _ in student.named_parameters() if not name.startswith("mix.")}
    for how in GRADIENTS:
        got = teacher_gradient(
            teacher,
            student,
            ahead,
            x,
            y,
            how=how,
            alpha=ALPHA,
            loss=loss,
            lr=LR,
            weights=w,
            teacher_weights=wt,
            validation=validation,
        )
        assert set(got) == {name for name, _ in teacher.named_parameters() if not name.startswith("0.")}


def objective(teacher, student, ahead, data, validation, weights, loss, whole):
    """O in words: every instance by itself, the student's step by torch's SGD."""
    (x, y), (xv, yv), (w, wt) = data, validation, weights
    with torch.no_grad():
        t = teacher(x)
        seen = call_at(student, ahead, x)
        total = sum(wt[i] * teacher_loss(t[i : i + 1], seen[i : i + 1], y[i : i + 1], ALPHA)[0] for i in range(B)) / B
    if whole:
        total = total + F.cross_entropy(stepped(student, t, x, y, loss, w)(xv), yv).detach()
    return total


@pytest.mark.parametrize("kind", ["kd", "dkd", "mse"])
@pytest.mark.parametrize("how", GRADIENTS)
def test_gradients_are_the_central_differences_of_the_objective(how, kind):
    (teacher, student), data, validation, weights, loss = pair(kind)
    student.train()
    teacher.eval()
    ahead = look_ahead(student, data[0], (data[1], teacher(data[0]).detach()), loss, LR, weights[0])
    teacher.train()
    before = copy.deepcopy(teacher.state_dict())
    got = teacher_gradient(
        teacher, student, ahead, *data, how=how, alpha=ALPHA, loss=loss, lr=LR, weights=weights[0], teacher_weights=weights[1],
        validation=validation, step=1e-5,
    )  # fmt: skip
    assert teacher.training
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    student.eval()
    teacher.eval()
    for name, p in teacher.named_parameters():
        for i in range(p.numel()):
            sides = []
            for h in (1e-5, -1e-5):
                moved = copy.deepcopy(teacher)
                with torch.no_grad():
                    moved.get_parameter(name).view(-1)[i] += h
                sides.append(objective(moved, student, ahead, data, validation, weights, loss, how != "detached"))
            torch.testing.assert_close(got[name].flatten()[i], (sides[0] - sides[1]) / 2e-5, rtol=1e-5, atol=1e-8)


def test_the_difference_tends_to_the_exact_gradient_with_the_students_rate():
    (teacher, student), data, validation, weights, loss = pair()
    ahead = look_ahead(student, data[0], (data[1], teacher.eval()(data[0]).detach()), loss, LR, weights[0])

    def found(how, **changes):
        own = {"alpha": ALPHA, "loss": loss, "lr": LR, "weights": weights[0], "teacher_weights": weights[1]}
        return teacher_gradient(teacher, student, ahead, *data, how=how, validation=validation, **{**own, **changes})

    exact, plain = found("unrolled"), found("detached")
    errors = []
    for step in (0.5, 0.05, 0.005):
        apart = add(found("influence", step=step), exact, -1.0)
        errors.append(dot(apart, apart) ** 0.5)
    size = dot(add(exact, plain, -1.0), add(exact, plain, -1.0)) ** 0.5
    assert size > 1e-3
    assert errors[1] < errors[0] / 50, errors
    assert errors[2] < errors[1] / 50, errors
    assert errors[2] < 1e-4 * size
    again = add(found("influence", lr=2 * LR), plain, -1.0)  # the added part is linear in the student's rate
    torch.testing.assert_close(again, scaled(add(found("influence"), plain, -1.0), 2.0))


def test_without_a_gradient_on_validation_nothing_is_added():
    """One class: its cross-entropy is 0 everywhere, and a difference along 0 has no length."""
    _, (x, y), (xv, yv), _, loss = pair()
    teacher, student = nn.Linear(D, 1).double(), nn.Linear(D, 1).double()
    got = teacher_gradient(
        teacher, student, dict(student.named_parameters()), x, y * 0, how="influence", alpha=0.5, loss=loss, lr=LR,
        validation=(xv, yv * 0),
    )  # fmt: skip
    assert all(float(g.abs().max()) == 0 for g in got.values())


def test_weights_of_a_part_leave_the_rest_out():
    (teacher, student), data, _, _, loss = pair()
    first = torch.tensor([1.0, 1, 0, 0, 0], dtype=torch.float64)
    t = teacher.eval()(data[0]).detach()
    ahead = look_ahead(student, data[0], (data[1], t), loss, LR, first * B / 2)
    few = take((data[0], data[1], t), slice(2))
    torch.testing.assert_close(ahead, look_ahead(student, few[0], few[1:], loss, LR))


def test_bad_arguments():
    (teacher, student), data, _, _, loss = pair()
    ahead = dict(student.named_parameters())
    with pytest.raises(InputError, match="must be one of detached, influence, unrolled, got 'exact'"):
        teacher_gradient(teacher, student, ahead, *data, how="exact", alpha=0.5, loss=loss, lr=LR)
    with pytest.raises(InputError, match="unrolled needs validation instances"):
        teacher_gradient(teacher, student, ahead, *data, how="unrolled", alpha=0.5, loss=loss, lr=LR)
