"""`refluence estimate compare|distill|score …`: a few steps measured, the whole run's time, memory and bytes said."""

from __future__ import annotations

from dataclasses import replace

from refluence.commands.compare import comparing
from refluence.commands.flags import Compare, Distill, Score
from refluence.commands.score import job_of
from refluence.commands.session import open_session
from refluence.jobs.catalogue import arm_of
from refluence.jobs.comparison import executor_of
from refluence.jobs.estimate import STEPS, judging_seconds, making_seconds, scoring_seconds, warm_up
from refluence.jobs.resolve import resolve
from refluence.report.words import counted
from refluence.run.device import PeakMemory


def run(flags: Compare | Distill | Score) -> None:
    """Measure each arm briefly and print a line each, then the total."""
    if isinstance(flags, Score):
        scoring(flags)
        return
    asked = comparing(flags) if isinstance(flags, Compare) else None
    arms = [arm_of(flags.method, flags.weights)] if isinstance(flags, Distill) else comparing(flags).arms()
    session = open_session(flags)
    memory, seeds = PeakMemory(session.compute.device), asked.seeds if asked else 1
    total, stored = 0.0, 0
    jobs = [resolve(flags, arm, session.dataset, flags.seed) for arm in arms]
    for job in jobs:
        job.plan.check_model(job.model)
    warm_up(jobs[0], session)
    for job in jobs:
        making, kept = making_seconds(job, session)
        judging = judging_seconds(job, session)
        total, stored = total + seeds * (making + judging), stored + seeds * kept
        print(f"{job.arm.name}: {clock(making)} to make, {clock(judging)} to judge, {size(kept)} stored, per seed")
    print(
        f"in all: {clock(total)} for {counted(len(arms), 'arm')} x {counted(seeds, 'seed')}, peak memory "
        f"{size(memory.bytes())}, {size(stored)} stored (measured on {STEPS} steps; a busier machine takes longer)"
    )
    if asked and asked.equal_seconds:
        print("not in it: the arms of --equal-seconds, each about as long as its influence arm")
    if asked and (workers := executor_of(asked, jobs * seeds, session).size) > 1:
        print(f"not in it: {workers} workers side by side, which take less time in all, and more memory")


def scoring(flags: Score) -> None:
    """The same for scores."""
    scores = job_of(replace(flags, resume=True))  # nothing is written: a run that is there is in nobody's way
    memory = PeakMemory(scores.session.compute.device)
    seconds, kept = scoring_seconds(scores)
    print(
        f"{len(scores.session.dataset.train)} instances: {clock(seconds)} to score, peak memory {size(memory.bytes())}, "
        f"{size(kept)} stored (measured on {STEPS} steps of each kind; a busier machine takes longer)"
    )


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
