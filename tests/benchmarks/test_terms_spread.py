"""Percentiles over steps and classes, by hand."""

import pytest
from terms_spread import spread


def test_ratios_are_over_steps_and_classes():
    lines = [
        {"explicit_by_class": [1.0, 2.0], "implicit_by_class": [2.0, 12.0], "agreement_by_class": [0.5, -0.5]},
        {"explicit_by_class": [4.0, 1.0], "implicit_by_class": [4.0, 11.0], "agreement_by_class": [-0.25, -1.0]},
    ]
    found = spread(lines)  # 1, 2, 6, 11
    assert (found["count"], found["median"], found["agreement"]) == (4, 4.0, -0.375)
    assert (found["low"], found["high"]) == (pytest.approx(1.15), pytest.approx(10.25))
