"""Characteristic functions: complex arithmetic, the closed forms, and central differences by the weights in float64."""

import pytest
import torch

from refluence.errors import InputError
from refluence.matching.characteristic import Characteristic, characteristic, frequencies
from refluence.matching.discrepancies import second_derivative
from refluence.matching.features import mean_statistic, row_scores
from support.draws import generator

T = frequencies(13, 4, generator(0)).double()
MIXES = [(0.5, 0.5), (0.9, 0.1), (0.2, 1.5)]


def rows(n: int, seed: int, shift: float = 0.0):
    f = torch.randn(n, 4, generator=generator(seed), dtype=torch.float64) + shift
    return characteristic(f, T), f


def test_rows_are_complex_exponentials():
    phi, f = rows(5, 1)
    torch.testing.assert_close(torch.complex(phi["real"], phi["imag"]), torch.exp(1j * (f @ T.mT)), rtol=1e-13, atol=1e-14)
    with pytest.raises(InputError, match="share F"):
        characteristic(f, T[:, :2])


@pytest.mark.parametrize(("alpha", "beta"), MIXES)
def test_value_closed_form_and_influence(alpha, beta):
    """D by complex arithmetic; grad_2 by autograd; I_j by the formula at the top of the file and by central differences."""
    D, n = Characteristic(alpha, beta), 7
    a, (phi, _) = mean_statistic(rows(4, 2, 0.3)[0]), rows(n, 1)
    w = torch.softmax(torch.randn(n, generator=generator(3), dtype=torch.float64), 0)
    b = mean_statistic(phi, n * w)
    ca, cb, cphi = (torch.complex(s["real"], s["imag"]) for s in (a, b, phi))
    r, R = ca.abs(), cb.abs()
    q = alpha * (R - r) ** 2 + 2 * beta * (R * r - (cb * ca.conj()).real)
    value, want = second_derivative(D, a, b)
    torch.testing.assert_close(value, q.sqrt().mean(), rtol=1e-12, atol=0)
    got = D.second(a, b)
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-11, atol=1e-13)
    rho = (cb.conj() * cphi).real / R
    dq = 2 * alpha * (R - r) * rho + 2 * beta * (r * rho - (cphi * ca.conj()).real)
    scores = row_scores(got, phi)
    torch.testing.assert_close(scores, (dq / (2 * q.sqrt())).mean(1), rtol=1e-11, atol=1e-13)
    steps = 1e-5 * torch.eye(n, dtype=torch.float64)
    ups, downs = (torch.stack([D.value(a, mean_statistic(phi, n * (w + s * e))) for e in steps]) for s in (1, -1))
    torch.testing.assert_close(scores, (ups - downs) / 2e-5, rtol=1e-6, atol=1e-9)


def test_equal_shares_are_the_distance_in_the_plane():
    a, b, phi = mean_statistic(rows(4, 2)[0]), mean_statistic(rows(7, 1)[0]), rows(7, 1)[0]
    ca, cb, cphi = (torch.complex(s["real"], s["imag"]) for s in (a, b, phi))
    torch.testing.assert_close(Characteristic().value(a, b), (cb - ca).abs().mean() / 2**0.5, rtol=1e-12, atol=0)
    want = (((cb - ca).conj() * cphi).real / (2**0.5 * (cb - ca).abs())).mean(1)
    torch.testing.assert_close(row_scores(Characteristic().second(a, b), phi), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), MIXES)
def test_where_both_sides_agree_or_vanish_everything_is_finite(alpha, beta):
    D, b = Characteristic(alpha, beta), mean_statistic(rows(7, 1)[0])
    zero = {k: torch.zeros_like(t) for k, t in b.items()}
    assert float(D.value(b, b)) < 2e-6
    for a, c in ((b, b), (b, zero), (zero, b), (zero, zero)):
        got, want = D.second(a, c), second_derivative(D, a, c)[1]
        for name in want:
            assert got[name].isfinite().all()
            torch.testing.assert_close(got[name], want[name], rtol=1e-6, atol=1e-8)
