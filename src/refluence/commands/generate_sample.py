"""`refluence generate sample`: one set sampled from a denoiser, one seed, one folder."""

from __future__ import annotations

from refluence import report
from refluence.arm import Arm
from refluence.commands.distill import say
from refluence.commands.flags import GenerateSample
from refluence.commands.session import open_session
from refluence.fields import subset
from refluence.generate.arms import refuse_idle
from refluence.generate.method import Generator
from refluence.jobs.catalogue import guided_arm, methods
from refluence.jobs.cleanable import refuse_unread
from refluence.jobs.denoiser_runs import method_of
from refluence.jobs.resolve import resolve
from refluence.jobs.single import make
from refluence.options import SetOptions
from refluence.run.folder import recorded_threads


def run(flags: GenerateSample) -> None:
    """Sample (or resume) the set, evaluate it, write the report, say which steps were guided and where it is."""
    arm, asked = arm_of(flags), subset(SetOptions, flags)
    session = open_session(flags, threads=recorded_threads(flags.out))
    job = resolve(asked, arm, session.dataset, flags.seed)
    refuse_unread(asked.scores, [job])
    rows, done = make(job, asked, session, flags.out, resume=flags.resume, page=report.write)
    remarks = job.plan.remarks(session.dataset, job.model, job.seed, session.compute) if flags.quiet or done else []
    say(rows, flags.out, done, remarks)  # else they were said at the start


def arm_of(flags: GenerateSample) -> Arm:
    """The arm of a comparison that the flags say. `InputError` for numbers that mean nothing there."""
    arm = guided_arm(flags.method or method_of(str(flags.denoiser)), flags.guidance, flags.pool)
    declared = methods()[arm.method]
    assert isinstance(declared, Generator), "--method names those alone"
    refuse_idle(arm, declared, subset(SetOptions, flags))
    return arm
