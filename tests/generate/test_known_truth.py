"""The smallest experiment in which the truth is known (benchmarks/guidance_truth.py): guidance by influence must give more
upright images than the same noise without it, and deviation more modes.
"""

import pytest
from guidance_truth import Halves

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def halves():
    return Halves()


def test_influence_raises_the_share_of_what_it_is_taken_on(halves):
    plain_upright, plain_turned, plain, _ = halves.sampled()
    upright, upside_down, steered, _ = halves.sampled(influence=True)
    assert plain_upright + plain_turned > 180, "nearly all samples are recognised"
    assert 0.4 < plain_upright / (plain_upright + plain_turned) < 0.6, "without guidance about as many of each"
    assert upright / (upright + upside_down) > 0.65
    assert steered["influence"]["mean"] < plain["influence"]["mean"], "the energy that is descended falls"


def test_more_influence_leaves_few_of_the_others(halves):
    upright, upside_down, _, _ = halves.sampled(influence=True, k=20.0)
    assert upright / (upright + upside_down) > 0.85


def test_deviation_raises_the_number_of_modes(halves):
    (_, _, plain, few), (_, _, steered, many) = halves.sampled(), halves.sampled(deviation=True, gamma=200.0)
    assert many > few
    assert steered["nearest"] < plain["nearest"]
