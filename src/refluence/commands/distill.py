"""`refluence distill`: one arm, one seed, one folder."""

from __future__ import annotations

import dataclasses
from typing import Any

from refluence import report
from refluence.commands.arms import arm_of, methods
from refluence.commands.networks import check_distillable
from refluence.commands.run_unit import FINISHED, finished, run_unit
from refluence.commands.session import about, arguments, check_numbers, open_session, relative
from refluence.commands.unit import resolve
from refluence.condense.engine import engine
from refluence.influence.weighting import BY_INFLUENCE
from refluence.report.words import counted
from refluence.run.folder import check_free, claimed, recorded_threads
from refluence.seeds import streams


def run(flags: Any) -> None:
    """Make (or resume) the distilled set, evaluate it, write the report, and say where it is."""
    check_numbers(flags)
    arm = arm_of(flags.method, flags.weights)
    check_free(flags.out, "distill", flags.resume)
    flags = dataclasses.replace(flags, threads=flags.threads or recorded_threads(flags.out))
    session = open_session(flags)
    unit = resolve(flags, arm, session.dataset, flags.seed)
    check_distillable([unit.model] if unit.settings is not None else [])
    resolved = {"unit": unit.describe(), **about(session, flags)}
    page, asked = flags.out / "report.html", (arguments(flags), resolved, flags.resume)
    with claimed(flags.out, "distill", *asked, outcome=(*FINISHED, page.name)) as done:
        if unit.settings is not None and unit.weighting.kind in BY_INFLUENCE and not finished(flags.out):
            where = (
                methods()[unit.arm.method],
                unit.settings,
                session.dataset,
                unit.model,
                streams(unit.seed),
                session.compute,
            )
            session.reporter.say(engine(*where))
        rows = run_unit(unit, session, flags.out)
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
