"""Discrepancies: the published distances, and their derivatives against closed forms, autograd and central differences."""

import pytest
import torch
from literal_dc import distance

from refluence.matching.discrepancies import L1, FlatCosine, RowCosine, Squared, first_derivative, second_derivative

SHAPES = {"conv": (4, 3, 3, 3), "bias": (4,), "tokens": (3, 2, 5), "linear": (2, 8)}


def statistic(seed: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {k: torch.randn(s, generator=g, dtype=torch.float64) for k, s in SHAPES.items()}


def test_value_is_the_published_distance_and_ignores_vectors():
    a, b = statistic(0), statistic(1)
    torch.testing.assert_close(RowCosine().value(a, b), distance(list(a.values()), list(b.values())), rtol=1e-14, atol=0)
    changed = {**b, "bias": b["bias"] + 100}
    assert RowCosine().value(a, changed) == RowCosine().value(a, b)


def test_equal_statistics_are_at_distance_zero_and_opposite_ones_at_two_a_row():
    a = statistic(0)
    rows = 4 + 3 + 2
    assert abs(float(RowCosine().value(a, a))) < 1e-5
    assert abs(float(RowCosine().value(a, {k: -t for k, t in a.items()})) - 2 * rows) < 1e-5


def test_second_derivative_is_the_closed_form_with_its_epsilon():
    """Row r: -a/q + <a,b> |a| b_hat / q^2 with q = |a||b| + eps."""
    a, b = statistic(0), statistic(1)
    _, found = second_derivative(RowCosine(), a, b)
    for name in a:
        if a[name].dim() == 1:
            assert not found[name].any()
            continue
        ra, rb = a[name].flatten(1), b[name].flatten(1)
        na, nb = ra.norm(dim=1, keepdim=True), rb.norm(dim=1, keepdim=True)
        q, dot = na * nb + 1e-6, (ra * rb).sum(1, keepdim=True)
        expected = -ra / q + dot * na * (rb / nb) / q**2
        torch.testing.assert_close(found[name].flatten(1), expected, rtol=1e-10, atol=1e-12)


def test_derivatives_equal_central_differences():
    a, b, h = statistic(0), statistic(1), 1e-6
    for which, derivative in ((0, first_derivative), (1, second_derivative)):
        _, gradient = derivative(RowCosine(), a, b)
        for name, index in (("conv", (2, 1, 0, 2)), ("linear", (1, 3)), ("tokens", (0, 1, 4))):
            values = []
            for sign in (1, -1):
                moved = [{k: t.clone() for k, t in s.items()} for s in (a, b)]
                moved[which][name][index] += sign * h
                values.append(RowCosine().value(*moved))
            torch.testing.assert_close(gradient[name][index], (values[0] - values[1]) / (2 * h), rtol=1e-6, atol=1e-9)


def test_scale_of_the_real_statistic_does_not_matter():
    a, b = statistic(0), statistic(1)
    scaled = {k: 7 * t for k, t in b.items()}
    torch.testing.assert_close(RowCosine(eps=0).value(a, scaled), RowCosine(eps=0).value(a, b), rtol=1e-12, atol=0)
    _, v = second_derivative(RowCosine(eps=0), a, b)
    assert abs(sum(float((v[k] * b[k]).sum()) for k in b)) < 1e-12  # Euler: influence needs no renormalisation


def test_any_function_of_two_statistics_is_a_distance():
    """One's own squared distance: 2 (a - b) and 2 (b - a), and the graph behind `a` can still be walked."""
    a, b = statistic(0), statistic(1)
    x = torch.ones((), dtype=torch.float64, requires_grad=True)
    grown = {k: x * t for k, t in a.items()}
    value, first = first_derivative(lambda p, q: sum((p[k] - q[k]).square().sum() for k in p), a, b)
    same, second = second_derivative(lambda p, q: sum((p[k] - q[k]).square().sum() for k in p), grown, b)
    assert value == same
    for name in a:
        torch.testing.assert_close(first[name], 2 * (a[name] - b[name]))
        torch.testing.assert_close(second[name], 2 * (b[name] - a[name]))
    assert torch.autograd.grad(sum(t.sum() for t in grown.values()), x)[0].isfinite()


def test_a_bound_value_is_the_same_as_its_discrepancy():
    a, b = statistic(0), statistic(1)
    by_object, by_function = (second_derivative(d, a, b)[1] for d in (RowCosine(), RowCosine().value))
    assert all(torch.equal(by_object[name], by_function[name]) for name in a)


EVERY = [RowCosine(), RowCosine(eps=0.5), FlatCosine(), FlatCosine(eps=0.5), Squared(), Squared(least=4), L1(), L1(least=2)]


@pytest.mark.parametrize("discrepancy", EVERY, ids=repr)
def test_closed_form_equals_autograd(discrepancy):
    a, b = statistic(0), statistic(1)
    _, want = second_derivative(discrepancy, a, b)
    got = discrepancy.second(a, b)
    for name in a:
        torch.testing.assert_close(got[name], want[name], rtol=1e-12, atol=1e-14)
        assert bool(got[name].any()) == discrepancy.uses(a[name])


@pytest.mark.parametrize("discrepancy", EVERY, ids=repr)
def test_both_derivatives_equal_central_differences_along_random_directions(discrepancy):
    a, b, h = statistic(0), statistic(1), 1e-5
    for which, derivative in ((0, first_derivative), (1, second_derivative)):
        _, gradient = derivative(discrepancy, a, b)
        for seed in range(2, 6):
            along, values = statistic(seed), []
            for sign in (1, -1):
                moved = [dict(a), dict(b)]
                moved[which] = {k: t + sign * h * along[k] for k, t in moved[which].items()}
                values.append(discrepancy.value(*moved))
            want = (values[0] - values[1]) / (2 * h)
            torch.testing.assert_close(sum((gradient[k] * along[k]).sum() for k in a), want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("discrepancy", [RowCosine(), FlatCosine()], ids=repr)
def test_closed_form_at_a_real_statistic_of_zero_is_finite_and_autograds(discrepancy):
    a = statistic(0)
    zero = {k: torch.zeros_like(t) for k, t in a.items()}
    _, want = second_derivative(discrepancy, a, zero)
    got = discrepancy.second(a, zero)
    for name in a:
        assert got[name].isfinite().all()
        torch.testing.assert_close(got[name], want[name], rtol=1e-12, atol=0)


def test_flat_cosine_is_the_cosine_of_everything_in_one_vector():
    a, b = statistic(0), statistic(1)
    fa, fb = (torch.cat([t.flatten() for t in s.values()]) for s in (a, b))
    want = 1 - torch.cosine_similarity(fa, fb, 0)
    torch.testing.assert_close(FlatCosine().value(a, b), want, rtol=1e-7, atol=0)
    shuffled = dict(reversed(b.items()))
    torch.testing.assert_close(FlatCosine().value(a, shuffled), FlatCosine().value(a, b), rtol=1e-14, atol=0)


def test_squared_and_l1_are_sums_over_what_they_use():
    a, b = statistic(0), statistic(1)
    torch.testing.assert_close(Squared().value(a, b), sum((a[k] - b[k]).square().sum() for k in a), rtol=1e-14, atol=0)
    torch.testing.assert_close(Squared(least=4).value(a, b), (a["conv"] - b["conv"]).square().sum(), rtol=1e-14, atol=0)
    torch.testing.assert_close(L1(least=4).value(a, b), (a["conv"] - b["conv"]).abs().sum(), rtol=1e-14, atol=0)
