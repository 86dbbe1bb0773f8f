"""Drawn folders, tables, label files, networks and flags: each command ends in a result or in one line."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz import flags, folders, label_files, models, tables
from fuzz.drawing import any_of
from fuzz.ending import check, place

PARTS = {"folders": folders, "tables": tables, "label files": label_files, "models": models, "flags": flags}
INPUTS = {"folders": 45, "tables": 45, "label files": 30, "models": 30, "flags": 50}
MANY = 6  # times as many before a release
FAIR = 0.2  # share of the inputs of a part that must end in a result, so that not all are refused


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("REFLUENCE_CACHE", os.devnull)  # each input has a cache of its own


@pytest.mark.parametrize("part", PARTS)
def test_each_ends_in_a_result_or_in_one_line(part):
    ended = draw(part, INPUTS[part], derandomize=True)
    assert ended.total() >= INPUTS[part]
    assert ended[True] >= FAIR * ended.total(), ended


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("part", PARTS)
def test_inputs_that_are_drawn_anew_end_in_a_result_or_in_one_line(part):
    draw(part, MANY * INPUTS[part], print_blob=True)


def draw(part, count, **how):
    """How many of `count` inputs ended in a result, and how many in a line."""
    ended: Counter[bool] = Counter()

    @settings(
        database=None,
        deadline=None,
        max_examples=count,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        **how,
    )
    @given(st.data())
    def each(data):
        with place() as at:
            words, again = PARTS[part].case(data.draw, at), any_of(data.draw, (False, False, True))
            ended[check(words, at, again)] += 1

    each()
    return ended


def test_there_are_enough_of_them():
    assert sum(INPUTS.values()) >= 200
