"""`refluence distill`: one arm, one seed, one folder."""

from __future__ import annotations

import dataclasses
from typing import Any

from refluence import report
from refluence.commands.session import about, arguments, open_session, relative
from refluence.jobs.catalogue import arm_of
from refluence.jobs.resolve import resolve
from refluence.jobs.run_job import FINISHED, finished, run_job
from refluence.report.words import counted
from refluence.run.folder import check_free, claimed, recorded_threads


def run(flags: Any) -> None:
    """Make (or resume) the distilled set, evaluate it, write the report, and say where it is."""
    arm = arm_of(flags.method, flags.weights)
    check_free(flags.out, "distill", flags.resume)
    flags = dataclasses.replace(flags, threads=flags.threads or recorded_threads(flags.out))
    session = open_session(flags)
    job = resolve(flags, arm, session.dataset, flags.seed)
    job.plan.check_model(job.model)
    resolved = {"unit": job.to_json(), **about(session, flags)}
    page, asked = flags.out / "report.html", (arguments(flags), resolved, flags.resume)
    with claimed(flags.out, "distill", *asked, outcome=(*FINISHED, page.name)) as done:
        if not finished(flags.out):
            for remark in job.plan.remarks(session.dataset, job.model, job.seed, session.compute):
                session.reporter.say(remark)
        rows = run_job(job, session, flags.out)
        if not done:
            report.write(flags.out)
    for row in rows:
        print(
            f"{row['arm']}, seed {row['seed']}, {row['images']} images: {row['accuracy']:.1f} % {row['split']} accuracy "
            f"({row['protocol']}, {counted(len(row['nets']), 'network')}, {row['seconds']:.0f} s to make)"
        )
    print(f"report: {relative(page)}   distilled set: {relative(flags.out / 'distilled')}")
    if done:
        print(f"{relative(flags.out)} is finished: nothing to do")
