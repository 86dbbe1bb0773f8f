"""Means of rows, their scores and lemma A, against central differences of D by the weights in float64."""

import pytest
import torch
from torch import nn

from refluence.errors import InputError
from refluence.matching.discrepancies import L1, FlatCosine, Squared, second_derivative
from refluence.matching.features import embedding, mean_statistic, row_scores
from support.brute_force import central
from support.cases import make
from support.draws import generator

DISCREPANCIES = [Squared(), L1(), FlatCosine()]


def two_sides(seed: int = 0):
    """Synthetic mean and real rows psi_j `(9, 6)`."""
    g = generator(seed)
    a = {"features": torch.randn(6, generator=g, dtype=torch.float64)}
    return a, {"features": torch.randn(9, 6, generator=g, dtype=torch.float64) + 0.5}


@pytest.mark.parametrize("discrepancy", DISCREPANCIES, ids=repr)
def test_scores_equal_central_differences(discrepancy):
    a, rows = two_sides()
    n = 9
    w = torch.softmax(torch.randn(n, generator=generator(3), dtype=torch.float64), 0)  # any point of the simplex
    b = mean_statistic(rows, n * w)
    got = row_scores(second_derivative(discrepancy, a, b)[1], rows)
    want = central(lambda w: discrepancy.value(a, mean_statistic(rows, n * w)), w)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


def test_distribution_matching_is_twice_the_difference_times_the_feature():
    a, rows = two_sides()
    b = mean_statistic(rows)
    got = row_scores(Squared().second(a, b), rows)
    torch.testing.assert_close(got, 2 * rows["features"] @ (b["features"] - a["features"]), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("discrepancy", DISCREPANCIES, ids=repr)
def test_lemma_a_renormalising_shifts_the_bag_by_a_constant(discrepancy):
    a, rows = two_sides()
    n = 9
    w = torch.softmax(torch.randn(n, generator=generator(3), dtype=torch.float64), 0)
    b = mean_statistic(rows, n * w)
    v = second_derivative(discrepancy, a, b)[1]
    renormalised = central(lambda w: discrepancy.value(a, mean_statistic(rows, n * w / w.sum())), w)
    shift = -row_scores(v, {k: t[None] for k, t in b.items()})
    torch.testing.assert_close(renormalised, row_scores(v, rows) + shift, rtol=1e-6, atol=1e-9)
    assert (abs(float(shift)) < 1e-6) == isinstance(discrepancy, FlatCosine)  # Euler: a cosine does not see the length


def test_embedding_is_what_the_classifier_sees():
    case = make("instance")
    psi = embedding(case.model, case.x)["features"]
    torch.testing.assert_close(case.model.classifier(psi), case.model(case.x), rtol=0, atol=0)
    with pytest.raises(InputError, match="Linear has no features"):
        embedding(nn.Linear(2, 2), torch.ones(1, 2))


def test_bad_shapes():
    _, rows = two_sides()
    with pytest.raises(InputError, match=r"\(9,\).*got \(8,\)"):
        mean_statistic(rows, torch.ones(8))
    with pytest.raises(InputError, match="other"):
        row_scores({"other": torch.ones(6)}, rows)
