"""`refluence estimate COMMAND …`: a few steps measured, the whole run's time, memory and bytes said."""

from __future__ import annotations

from dataclasses import replace

from refluence.commands import generate_sample
from refluence.commands.compare import comparing
from refluence.commands.flags import Compare, Distill, GenerateSample, Score, Transfer
from refluence.commands.score import job_of
from refluence.commands.session import open_session
from refluence.commands.transfer import comparing as of_transfer
from refluence.fields import subset
from refluence.jobs import pool_seconds
from refluence.jobs.catalogue import arm_of, refuse_sampled
from refluence.jobs.comparing import Comparing
from refluence.jobs.comparison import executor_of
from refluence.jobs.estimate import STEPS, judging_seconds, making_seconds, needed_seconds, scoring_seconds, warm_up
from refluence.options import SetOptions
from refluence.report.words import counted
from refluence.run.device import PeakMemory
from refluence.run.progress import begun


def run(flags: Compare | Distill | GenerateSample | Transfer | Score) -> None:
    """Measure each arm briefly and print a line each, then the total."""
    if isinstance(flags, Score):
        scoring(flags)
        return
    asked = _asked(flags)
    asked.arms()
    session = open_session(flags, asked.per_class, students=asked.of_students)
    memory, seeds = PeakMemory(session.compute.device), asked.seeds
    total, stored = 0.0, 0
    jobs = [pool_seconds.alone(job) for job in replace(asked, seeds=1).jobs(session.dataset)]
    begun()
    warm_up(jobs[0], session)
    for what, seconds in needed_seconds(jobs, session):
        total += seconds
        print(f"{what}: {clock(seconds)} to train first, once")
    for job in jobs:
        making, kept = making_seconds(job, session)
        judging = judging_seconds(job, session)
        total, stored = total + seeds * (making + judging), stored + seeds * kept
        print(f"{job.arm.name}: {clock(making)} to make, {clock(judging)} to judge, {size(kept)} stored, per seed")
    print(
        f"in all: {clock(total)} for {counted(len(jobs), 'arm')} x {counted(seeds, 'seed')}, peak memory "
        f"{size(memory.bytes())}, {size(stored)} stored (measured on {STEPS} steps; a busier machine takes longer)"
    )
    if asked.options.quality and not asked.of_students:
        print(
            "not in it: --quality of each set beside what it needs first, most of it ten networks trained on a tenth of the set"
        )
    if asked.equal_seconds:
        print("not in it: the arms of --equal-seconds, each about as long as its influence arm")
    if not isinstance(flags, (Distill, GenerateSample)) and (workers := executor_of(asked, jobs * seeds, session).size) > 1:
        print(f"not in it: {workers} workers side by side, which take less time in all, and more memory")


def _asked(flags: Compare | Distill | GenerateSample | Transfer) -> Comparing:
    """A single run as a comparison of one arm."""
    if isinstance(flags, Compare):
        return comparing(flags)
    if isinstance(flags, Transfer):
        return of_transfer(flags)
    if isinstance(flags, GenerateSample):
        arm = generate_sample.arm_of(flags)
    else:
        arm = arm_of(flags.method, flags.weights)
        refuse_sampled(arm)
    return Comparing(methods=(arm.name,), options=subset(SetOptions, flags), seeds=1, seed=flags.seed, controls=False)


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
