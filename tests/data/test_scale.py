"""Splits from Python on different scales are refused; those on one scale are taken as they are."""

from __future__ import annotations

import numpy as np
import pytest

import refluence as rf
from refluence.errors import InputError

LABELS = np.arange(30) % 3
UNIT = np.random.default_rng(0).random((30, 6, 6), dtype=np.float32)
BYTES = (UNIT * 255).astype(np.uint8)
NORMAL = (UNIT - 0.5) / 0.29


@pytest.mark.parametrize(
    ("train", "test"),
    [(UNIT * 255, BYTES), (UNIT * 255, UNIT), (BYTES, NORMAL), (NORMAL, UNIT * 255), (BYTES, UNIT * 255)],
    ids=["0-255 and uint8", "0-255 and 0-1", "uint8 and standardised", "standardised and 0-255", "uint8 and 0-255"],
)
def test_two_scales_are_refused(train, test):
    with pytest.raises(InputError, match="are not on one scale"):
        rf.load((train, LABELS), test=(test, LABELS))
    with pytest.raises(InputError, match="are not on one scale"):
        rf.load((train, LABELS), validation=(test, LABELS))


@pytest.mark.parametrize(
    ("train", "test"),
    [(UNIT, BYTES), (UNIT * 1.1, UNIT), (UNIT * 255, UNIT * 200), (NORMAL, NORMAL * 0.9), (BYTES, BYTES // 200)],
)
def test_one_scale_is_taken(train, test):
    assert len(rf.load((train, LABELS), test=(test, LABELS)).test) == 30
