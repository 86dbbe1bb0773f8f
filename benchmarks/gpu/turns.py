"""Variants of one piece of work, side by side in one process: their seconds round by round, and their peak memory.

Each takes its turn in every round and waits for the device. Peak memory is what one more turn needs beyond what is held
before it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch

from gpu.rows import Numbers, Outcome, Rows, free
from gpu.sizes import Size
from refluence.run.device import PeakMemory

Turn = Callable[[], object]


def group(
    rows: Rows, name: str, makers: Mapping[str, Callable[[], Turn]], size: Size, device: torch.device, until: float, base: str
) -> None:
    """A row for each variant; `makers` give what is done in a turn. `base`: the variant to whose time each is compared."""
    ready: dict[str, Turn] = {}
    ends: dict[str, Outcome] = {}
    times: dict[str, list[float]] = {what: [] for what in makers}

    def start(what: str) -> Numbers:
        begin = time.perf_counter()
        turn = makers[what]()
        turn()
        wait(device)
        first = time.perf_counter() - begin
        peak = peak_of(turn, device)
        ready[what] = turn
        return {"first_s": round(first, 4), "peak_mb": round(peak / 2**20, 1)}

    def again(what: str) -> Numbers:
        times[what].append(timed(ready[what], device))
        return {}

    for what in makers:
        ends[what] = rows.attempt(partial(start, what), until)
    for number in range(size.rounds):
        for what in [w for w in makers if ends[w].state == "ok"]:
            if number and rows.clock.left(until) <= 0:
                continue
            outcome = rows.attempt(partial(again, what))
            if outcome.state != "ok":
                ends[what] = replace(outcome, numbers=ends[what].numbers)  # those of its start
    for what, end in ends.items():
        more: Numbers = {}
        if end.state == "ok":
            more = spread(times[what])
            if times[base]:
                ratios = [a / b for a, b in zip(times[what], times[base], strict=False)]
                more |= {f"over_{base.replace(' ', '_')}": statistics.median(ratios)}
        rows.add(name, what, Outcome(end.state, end.note, end.numbers | more, end.seconds + sum(times[what])))
    ready.clear()
    free()


def titled(name: str, compiled: bool) -> str:
    """The name of a group; compiled variants have one of their own, with what they are compared with."""
    return f"{name}, compiled" if compiled else name


def timed(turn: Turn, device: torch.device) -> float:
    """Seconds of a turn, the device's work included."""
    wait(device)
    begin = time.perf_counter()
    turn()
    wait(device)
    return time.perf_counter() - begin


def peak_of(turn: Turn, device: torch.device) -> int:
    """Bytes that a turn needs beyond what is held before it (of the process, where the device is no CUDA or ROCm)."""
    memory = PeakMemory(device)
    before = memory.bytes()
    turn()
    wait(device)
    return memory.bytes() - before


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def spread(seconds: list[float]) -> Numbers:
    """The median, the least and the largest of the times of the rounds."""
    return {"median_s": statistics.median(seconds), "least_s": min(seconds), "most_s": max(seconds), "rounds": len(seconds)}
