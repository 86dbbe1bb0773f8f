"""Learning rates against literal lists."""

import dataclasses
import math

import pytest

from refluence.evaluate import protocols
from refluence.training.schedules import triangle


def named(name, **changes):
    return dataclasses.replace(protocols()[name], **changes)


@pytest.mark.parametrize(
    ("name", "epochs", "expected"),
    [
        ("dc", 6, [0.01, 0.01, 0.01, 0.001, 0.001, 0.001]),
        ("iwd", 5, [0.1, 0.1, 0.01, 0.01, 0.01]),
        ("idc", 6, [0.01, 0.01, 0.01, 0.01, 0.002, 0.0004]),
        ("pdd", 12, [0.01] * 8 + [0.002] * 2 + [0.0004] * 2),
        ("igd", 3, [1e-3, 1e-3, 2e-4]),  # both milestones fall on one epoch, which lowers the rate once
        ("ncfm", 10, [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 1.25e-4, 1.25e-4, 6.25e-5, 6.25e-5]),
        ("sre2l", 4, [1e-3, 1e-3 * (2 + math.sqrt(2)) / 4, 5e-4, 1e-3 * (2 - math.sqrt(2)) / 4]),
        ("rded", 2, [1e-3, 1e-3 * (2 + math.sqrt(2)) / 4]),
        ("frepo", 8, [0.0, 7.5e-5, 1.5e-4, 2.25e-4, 3e-4, 3e-4 * (0.01 + 0.99 * (2 + math.sqrt(2)) / 4), 1.515e-4,
                      3e-4 * (0.01 + 0.99 * (2 - math.sqrt(2)) / 4)]),
    ],
)  # fmt: skip
def test_literal_rates(name, epochs, expected):
    assert named(name, epochs=epochs).rates() == pytest.approx(expected, rel=1e-5)


def test_the_ends_of_the_published_lengths():
    assert protocols()["rded"].rates()[-1] == pytest.approx(5e-4, rel=0.01)
    assert protocols()["sre2l"].rates()[-1] < 1e-7
    frepo = protocols()["frepo"].rates()
    assert (frepo[0], frepo[500]) == (0.0, pytest.approx(3e-4))
    assert frepo[250] == pytest.approx(1.5e-4)
    assert frepo[-1] == pytest.approx(3e-6, rel=0.01)
    assert sorted(protocols()["idc"].drops()) == [666, 833]
    assert sorted(named("idc", epochs=1500).drops()) == [1000, 1250]
    assert protocols()["sre2l"].drops() == set()


def test_a_stage_starts_again_and_the_sixth_at_half_the_rate():
    pdd = named("pdd", epochs=6)
    assert pdd.rates(4) == pdd.rates(0)
    assert pdd.rates(5) == pytest.approx([lr / 2 for lr in pdd.rates(0)])


@pytest.mark.parametrize("name", protocols())
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_the_shortest_trainings_have_a_rate_for_every_epoch(name, epochs):
    found = named(name, epochs=epochs).rates()
    assert len(found) == epochs
    assert all(0 <= lr <= protocols()[name].lr for lr in found)


def test_a_triangle_rises_for_its_share_and_falls_to_nothing():
    """Of ten steps two go up: t / 3, and then (11 - t) / 9."""
    expected = [min(t / 3, (11 - t) / 9) for t in range(1, 11)]
    assert [triangle(t, 10, 0.2) for t in range(1, 11)] == pytest.approx(expected)
    assert expected[0] < expected[1] < expected[2] > expected[3] > expected[-1] > 0
