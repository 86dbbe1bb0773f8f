"""Losses against literal formulas in float64."""

import math

import pytest
import torch

from refluence.training.objectives import LOSSES, Objective, centred, divergence, loss, mean_loss


def draw(seed, *size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


Z, P, Y = draw(0, 5, 4), draw(1, 5, 4).softmax(1), torch.tensor([3, 0, 1, 1, 2])


def softmax(z, temperature=1.0):
    total = sum(math.exp(v / temperature) for v in z)
    return [math.exp(v / temperature) / total for v in z]


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_divergence_of_a_teacher(temperature):
    teacher, expected = draw(2, 5, 4), 0.0
    for z, t in zip(Z.tolist(), teacher.tolist(), strict=True):
        pairs = zip(softmax(t, temperature), softmax(z, temperature), strict=True)
        expected += sum(p * math.log(p / q) for p, q in pairs) / 5
    assert float(divergence(Z, teacher, temperature)) == pytest.approx(expected, rel=1e-9)
    stored = teacher.softmax(1)  # a stored soft label serves at every temperature
    assert float(loss("kl", Z, stored, temperature)) == pytest.approx(expected, rel=1e-9)


def test_divergence_where_a_soft_label_is_zero():
    p = torch.tensor([[0.25, 0.75, 0.0, 0.0]], dtype=torch.float64)
    z = Z[:1]
    q = softmax(z[0].tolist())
    expected = 0.25 * math.log(0.25 / q[0]) + 0.75 * math.log(0.75 / q[1])
    assert float(loss("kl", z, p)) == pytest.approx(expected, rel=1e-9)


def test_soft_cross_entropy():
    expected = -sum(
        p * math.log(q)
        for z, labels in zip(Z.tolist(), P.tolist(), strict=True)
        for p, q in zip(labels, softmax(z), strict=True)
    )
    assert float(loss("ce", Z, P)) == pytest.approx(expected / 5)


def test_hard_labels_have_no_temperature():
    expected = -sum(math.log(softmax(z)[y]) for z, y in zip(Z.tolist(), Y.tolist(), strict=True)) / 5
    assert float(loss("ce", Z, Y)) == pytest.approx(expected)
    assert float(loss("kl", Z, Y, 20.0)) == pytest.approx(expected)


def test_centred_labels_by_hand():
    """Of 4 classes: .75 and -.25, over sqrt(.4); of 10 classes, at which the scale is one, .9 and -.1."""
    assert centred(torch.tensor([2]), 4)[0].tolist() == pytest.approx(
        [-0.25 / 0.4**0.5] * 2 + [0.75 / 0.4**0.5, -0.25 / 0.4**0.5]
    )
    assert centred(torch.tensor([0]), 10)[0].tolist() == pytest.approx([0.9] + [-0.1] * 9)
    torch.testing.assert_close(centred(P, 4), (P - 0.25) / 0.4**0.5)


def test_squared_loss_by_hand():
    target = centred(Y, 4).double()
    expected = sum(float((Z[i] - target[i]) @ (Z[i] - target[i])) / 2 for i in range(5)) / 5
    assert float(loss("mse", Z, Y)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_equal_hard_and_soft_labels_have_equal_gradients(kind):
    one_hot = torch.nn.functional.one_hot(Y, 4).double()
    grads = []
    for labels in (Y, one_hot):
        z = Z.clone().requires_grad_()
        loss(kind, z, labels).backward()
        grads.append(z.grad)
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("labels", [Y, P], ids=["hard", "soft"])
def test_each_loss_is_that_of_a_batch_of_one_and_their_mean_the_mean(kind, labels):
    function = Objective(kind, 3.0)
    each = function(Z, labels)
    expected = torch.stack([loss(kind, Z[i : i + 1], labels[i : i + 1], 3.0) for i in range(len(Z))])
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(function.mean(Z, labels), each.mean())
    weights = draw(3, 5).abs()
    torch.testing.assert_close(mean_loss(function, Z, labels, weights), (weights * each).sum() / 5)


def test_a_plain_function_is_averaged_too():
    assert torch.equal(mean_loss(lambda z, y: z[:, 0] * y, Z, Y), (Z[:, 0] * Y).mean())
