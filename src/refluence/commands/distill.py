"""`refluence distill`: one arm, one seed, one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refluence import report
from refluence.commands.flags import Distill
from refluence.commands.session import open_session, relative
from refluence.data.distilled import read_card
from refluence.fields import subset
from refluence.jobs.catalogue import arm_of, refuse_sampled
from refluence.jobs.cleanable import refuse_unread
from refluence.jobs.resolve import resolve
from refluence.jobs.run_job import Row
from refluence.jobs.single import PAGE, make
from refluence.options import JobOptions
from refluence.report import cleaned
from refluence.report.words import counted
from refluence.run.folder import recorded_threads


def run(flags: Distill) -> None:
    """Make (or resume) the distilled set, evaluate it, write the report, and say where it is."""
    arm, asked = arm_of(flags.method, flags.weights), subset(JobOptions, flags)
    refuse_sampled(arm)
    session = open_session(flags, threads=recorded_threads(flags.out))
    job = resolve(asked, arm, session.dataset, flags.seed)
    job.plan.check_model(job.model)
    refuse_unread(asked.scores, [job])
    rows, done = make(job, asked, session, flags.out, resume=flags.resume, page=report.write)
    say(rows, flags.out, done)


def say(rows: Sequence[Row], out: Path, done: bool, remarks: Sequence[str] = ()) -> None:
    """The result of each protocol, what was done beforehand, and where everything lies. `done`: it was finished before."""
    for row in rows:
        print(
            f"{row['arm']}, seed {row['seed']}, {row['images']} images: {row['accuracy']:.1f} % {row['split']} accuracy "
            f"({row['protocol']}, {counted(len(row['nets']), 'network')}, {_seconds(row)})"
        )
    if beforehand := read_card(out / "distilled").get("cleaned"):
        print(cleaned.sentence(beforehand))
    for remark in remarks:
        print(remark)
    print(f"report: {relative(out / PAGE)}   distilled set: {relative(out / 'distilled')}")
    if done:
        print(f"{relative(out)} is finished: nothing to do")


def _seconds(row: Row) -> str:
    """How long it took; of a sampled set what was trained first is said apart."""
    first = {name: row[f"{name}_seconds"] for name in ("denoiser", "minimax", "surrogate") if row.get(f"{name}_seconds")}
    if not first:
        return f"{row['seconds']:.0f} s to make"
    return f"{row['seconds']:.0f} s to sample, after {sum(first.values()):.0f} s for {' and '.join(first)}"
