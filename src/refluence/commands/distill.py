"""`refluence distill`: one arm, one seed, one folder."""

from __future__ import annotations

from refluence import report
from refluence.commands.flags import Distill
from refluence.commands.session import open_session, relative
from refluence.data.distilled import read_card
from refluence.fields import subset
from refluence.jobs.catalogue import arm_of
from refluence.jobs.cleanable import refuse_unread
from refluence.jobs.resolve import resolve
from refluence.jobs.single import PAGE, distill
from refluence.options import JobOptions
from refluence.report import cleaned
from refluence.report.words import counted
from refluence.run.folder import check_free, recorded_threads


def run(flags: Distill) -> None:
    """Make (or resume) the distilled set, evaluate it, write the report, and say where it is."""
    arm, asked = arm_of(flags.method, flags.weights), subset(JobOptions, flags)
    check_free(flags.out, "distill", flags.resume)
    session = open_session(flags, threads=recorded_threads(flags.out))
    job = resolve(asked, arm, session.dataset, flags.seed)
    job.plan.check_model(job.model)
    refuse_unread(asked.scores, [job])
    rows, done = distill(job, asked, session, flags.out, resume=flags.resume, page=report.write)
    for row in rows:
        print(
            f"{row['arm']}, seed {row['seed']}, {row['images']} images: {row['accuracy']:.1f} % {row['split']} accuracy "
            f"({row['protocol']}, {counted(len(row['nets']), 'network')}, {row['seconds']:.0f} s to make)"
        )
    if beforehand := read_card(flags.out / "distilled").get("cleaned"):
        print(cleaned.sentence(beforehand))
    print(f"report: {relative(flags.out / PAGE)}   distilled set: {relative(flags.out / 'distilled')}")
    if done:
        print(f"{relative(flags.out)} is finished: nothing to do")
