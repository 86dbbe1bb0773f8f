"""Words for numbers, smoothing of curves and bins of the histogram."""

import numpy as np
import pytest

from refluence.report.curves import POINTS, smooth
from refluence.report.scores import histogram_bins
from refluence.report.words import amount, common_unit, compact, duration, fixed, pretty, signed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (fixed(-0.04), "0.0"), (fixed(-1.26), "−1.3"), (fixed(float("nan")), "–"), (fixed(None), "–"),
        (signed(0.44), "+0.4"), (signed(0.01), "0.0"), (signed(-2), "−2.0"),
        (compact(0.02134), "0.0213"), (compact(-1.23e-5), "−1.2e−5"), (compact(1234), "1234"), (compact(5), "5"),
        (amount(999), "999 B"), (amount(25_600), "25.6 kB"), (amount(412_300_000), "412 MB"), (amount("x"), "–"),
        (duration(4.23), "4.2 s"),
        (duration(0.001), "< 0.1 s"), (duration(192), "3 min 12 s"), (duration(7500), "2 h 5 min"),
        (duration(99.7), "1 min 40 s"),
        (common_unit(3e-4), (1e-4, "10⁻⁴", 2)), (common_unit(0.5), (1.0, "", 3)), (common_unit(0), (1.0, "", 2)),
        (pretty({"a": float("inf")}), '{\n  "a": null\n}'),
    ],
)  # fmt: skip
def test_words(words, expected):
    assert words == expected


def test_smoothing_is_the_mean_of_seeds_and_keeps_the_mean():
    assert smooth([(0, 1.0), (1, 5.0), (0, 3.0)]) == [(0.0, 2.0), (1.0, 5.0)]
    points = smooth([(float(i), float(i % 7)) for i in range(7000)])
    assert len(points) == POINTS
    assert np.mean([y for _, y in points]) == pytest.approx(3.0)


def test_bins_count_everyone_and_have_an_edge_at_zero():
    score = np.random.default_rng(0).normal(0, 1, 5000)
    bins, beyond = histogram_bins(score)
    assert (sum(n for _, _, n in bins), beyond) == (5000, 0)
    assert sum(n for a, _, n in bins if a >= -1e-12) == (score >= 0).sum()
    bins, beyond = histogram_bins(np.append(score, 1e6))
    assert (sum(n for _, _, n in bins), beyond > 0) == (5001, True)
    assert max(b for _, b, _ in bins) < 10


@pytest.mark.parametrize("constant", [0.0, 0.25, -3e-9])
def test_bins_of_equal_scores(constant):
    bins, beyond = histogram_bins(np.full(10, constant))
    assert ([n for _, _, n in bins], beyond) == ([10], 0)
