"""`refluence estimate compare|distill …`: a few steps measured, the whole run's time, memory and bytes said."""

from __future__ import annotations

from typing import Any

from refluence.commands.compare import executor_of
from refluence.commands.session import open_session
from refluence.jobs.catalogue import arm_of, with_controls
from refluence.jobs.estimate import STEPS, judging_seconds, making_seconds, warm_up
from refluence.jobs.resolve import resolve
from refluence.report.words import counted
from refluence.run import device as machine


def run(flags: Any) -> None:
    """Measure each arm briefly and print a line each, then the total."""
    if hasattr(flags, "methods"):
        arms, seeds = with_controls(flags.methods, flags.controls), flags.seeds
    else:
        arms, seeds = [arm_of(flags.method, flags.weights)], 1
    session = open_session(flags)
    memory = machine.PeakMemory(session.compute.device)
    total, stored = 0.0, 0
    units = [resolve(flags, arm, session.dataset, flags.seed) for arm in arms]
    for unit in units:
        unit.plan.check_model(unit.model)
    warm_up(units[0], session)
    for unit in units:
        making, kept = making_seconds(unit, session)
        judging = judging_seconds(unit, session)
        total, stored = total + seeds * (making + judging), stored + seeds * kept
        print(f"{unit.arm.name}: {clock(making)} to make, {clock(judging)} to judge, {size(kept)} stored, per seed")
    print(
        f"in all: {clock(total)} for {counted(len(arms), 'arm')} x {counted(seeds, 'seed')}, peak memory "
        f"{size(memory.bytes())}, {size(stored)} stored (measured on {STEPS} steps; a busier machine takes longer)"
    )
    if getattr(flags, "equal_seconds", False):
        print("not in it: the arms of --equal-seconds, each about as long as its influence arm")
    if hasattr(flags, "workers") and (workers := executor_of(units * seeds, session, flags).size) > 1:
        print(f"not in it: {workers} workers side by side, which take less time in all, and more memory")


def clock(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Bytes as people say them."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
