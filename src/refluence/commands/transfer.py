"""`refluence transfer`: a large model into a small one; with --seeds a comparison with its controls."""

from __future__ import annotations

from refluence import report
from refluence.commands import compare
from refluence.commands.flags import Transfer
from refluence.commands.session import open_session, relative
from refluence.errors import InputError
from refluence.fields import subset
from refluence.jobs.catalogue import check_mechanism, parse_arm, students_beside
from refluence.jobs.comparing import Comparing, executor_name
from refluence.jobs.run_job import card_of
from refluence.jobs.single import PAGE, make
from refluence.options import TransferOptions
from refluence.run.folder import recorded_threads


def run(flags: Transfer) -> None:
    """Make (or resume) the student, judge it, write the report, and say where it is."""
    asked = comparing(flags)
    if flags.seeds is not None:
        compare.make(asked, flags)
        return
    asked.arms()
    session = open_session(flags, threads=recorded_threads(flags.out), students=True)
    (job,) = asked.jobs(session.dataset)
    rows, done = make(job, asked.transfer, session, flags.out, resume=flags.resume, page=report.write)
    (row,), card = rows, card_of(flags.out)
    beside = f", its teacher {row['teacher_accuracy']:.1f} %" if "teacher_accuracy" in row else ""
    print(
        f"{row['arm']}, seed {row['seed']}: {row['accuracy']:.1f} % {row['split']} accuracy{beside}; {card['parameters']:,} "
        f"parameters, {card['train']:,} training rows, {row['seconds']:.0f} s"
    )
    print(f"report: {relative(flags.out / PAGE)}   student: {relative(flags.out / 'student')}")
    if done:
        print(f"{relative(flags.out)} is finished: nothing to do")


def comparing(flags: Transfer) -> Comparing:
    """What the flags ask for: one arm and seed, or with --seeds a comparison."""
    check_mechanism(flags.mechanism)
    arm = parse_arm(flags.mechanism)
    compared = flags.controls and flags.seeds is not None
    transfer = subset(TransferOptions, flags)
    asked = Comparing(
        methods=students_beside(flags.mechanism, transfer) if compared else (flags.mechanism,),
        transfer=transfer,
        seeds=flags.seeds or 1,
        seed=flags.seed,
        controls=compared,
        equal_seconds=flags.equal_seconds,
        executor=executor_name(flags.executor, flags.workers),
    )
    if not asked.of_students:
        raise InputError(f"--mechanism {arm.name} makes a small set: refluence distill --method {arm.method} does that")
    return asked
