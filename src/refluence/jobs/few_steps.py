"""How long all steps of a work take, from a few of them: what estimates are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from refluence.work import Cost, Stepping

W = TypeVar("W", bound=Stepping)
STEPS = 3
LONG = 10.0  # seconds of what is measured once: it has no need to warm up


def stepping(work: W, ahead: Callable[[W], Sequence[Cost]]) -> float:
    """Seconds of all steps, from a few of them, and of what comes beside."""
    steps, begin = work.steps(), time.perf_counter()
    next(steps)  # the first step warms up
    seconds, begin, done = time.perf_counter() - begin, time.perf_counter(), 0
    for done, _ in enumerate(steps, 1):
        if done == STEPS or time.perf_counter() - begin > LONG:
            break
    if done:
        seconds = work.total * (time.perf_counter() - begin) / done
    return seconds + tried(ahead(work))


def tried(costs: Sequence[Cost]) -> float:
    """Seconds of all, from a few of each."""
    seconds = 0.0
    for cost in costs:
        begin = time.perf_counter()
        cost.run(1)  # warms up
        if (one := time.perf_counter() - begin) < LONG:
            begin = time.perf_counter()
            cost.run(STEPS)
            one = (time.perf_counter() - begin) / STEPS
        seconds += cost.count * one
    return seconds
