"""`refluence distill`: one arm, one seed, one folder."""

from __future__ import annotations

from typing import Any

from refluence import report
from refluence.commands.arms import parse_arm
from refluence.commands.session import about, arguments, open_session, relative
from refluence.commands.unit import resolve, run_unit
from refluence.run.folder import claim


def run(flags: Any) -> None:
    """Make (or resume) the distilled set, evaluate it, write the report, and say where it is."""
    kind, colon, options = flags.weights.partition(":")
    suffix = "" if kind == "uniform" else f"+{kind}"
    arm = parse_arm(f"{flags.method}{suffix}{colon}{options}")
    session = open_session(flags)
    unit = resolve(flags, arm, session.dataset, flags.seed)
    resolved = {"unit": unit.describe(), **about(session.dataset, flags)}
    claim(flags.out, "distill", arguments(flags), resolved, flags.resume)
    finished = (flags.out / "report.html").exists()
    rows = run_unit(unit, session, flags.out)
    if finished:
        print(f"{relative(flags.out)} is finished: nothing to do")
        return
    page = report.write(flags.out)
    for row in rows:
        print(
            f"{row['arm']}, seed {row['seed']}, {row['images']} images: {row['accuracy']:.1f} % {row['split']} accuracy "
            f"({row['protocol']}, {len(row['nets'])} networks, {row['seconds']:.0f} s to make)"
        )
    print(f"report: {relative(page)}   distilled set: {relative(flags.out / 'distilled')}")
