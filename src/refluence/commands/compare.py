"""`refluence compare`: arms x seeds, paired, with controls, intervals and one sentence at the end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from refluence import report
from refluence.commands.arms import Arm, with_controls
from refluence.commands.session import Session, about, arguments, open_session, relative
from refluence.commands.unit import Unit, resolve, run_unit
from refluence.errors import InputError
from refluence.evaluate.statistics import summarise, verdict
from refluence.files import read_json, write_json
from refluence.run.folder import claim
from refluence.run.workers import automatic, side_by_side

EQUAL_SECONDS = "equal_seconds"
WORTH = 1.05  # an arm that costs less than this much more time needs no such control


def run(flags: Any) -> None:
    """Run every unit that is not finished, seeds in order, and write results.json and report.html."""
    if flags.seeds < 1:
        raise InputError(f"--seeds is {flags.seeds}: it must be at least 1")
    arms = with_controls(flags.methods, flags.controls)
    session = open_session(flags)
    units = [resolve(flags, arm, session.dataset, flags.seed + i) for i in range(flags.seeds) for arm in arms]
    resolved = {
        "arms": {unit.arm.name: unit.describe() for unit in units[: len(arms)]},
        "seeds": [flags.seed + i for i in range(flags.seeds)],
        "equal_seconds": flags.equal_seconds,
        **about(session.dataset, flags),
    }
    claim(flags.out, "compare", arguments(flags), resolved, flags.resume)
    if flags.resume and (flags.out / "report.html").exists():
        show(read_json(flags.out / "results.json"), flags.out)
        print(f"{relative(flags.out)} is finished: nothing to do")
        return

    rows: list[dict[str, Any]] = []
    by_unit: dict[tuple[str, int], dict[str, Any]] = {}
    for number, (unit, own) in enumerate(zip(units, run_all(units, session, flags), strict=True), 1):
        rows += own
        by_unit[unit.arm.name, unit.seed] = own[0]
        session.reporter.say(f"[{number}/{len(units)}] {unit.arm.name}, seed {unit.seed}: {own[0]['accuracy']:.1f} %")
    if flags.equal_seconds:
        extra = equal_seconds_units(units, by_unit)
        for unit, own in zip(extra, run_all(extra, session, flags), strict=True):
            rows += own
            session.reporter.say(f"{unit.arm.name}, seed {unit.seed}: {own[0]['accuracy']:.1f} %")

    summary = summarise(rows, primary(arms))
    results = {
        "rows": rows,
        "summary": summary,
        "verdict": verdict(summary, rows),
        "notes": list(session.dataset.notes),
    }
    write_json(flags.out / "results.json", results)
    report.write(flags.out)
    show(results, flags.out)


def run_all(units: list[Unit], session: Session, flags: Any) -> Iterator[list[dict[str, Any]]]:
    """Rows of each unit, in order; several processes where that is faster."""
    pixels, width = math.prod(session.dataset.shape[1:]), max((u.model.width for u in units), default=0)
    workers = flags.workers or automatic(pixels, width, len(units), session.compute.device.type)
    if workers == 1:
        for unit in units:
            yield run_unit(unit, session, unit_folder(flags.out, unit))
        return
    alone = dataclasses.replace(flags, quiet=True, threads=flags.threads or 1)
    with session.reporter.bar("units", len(units)) as advance:
        for own in side_by_side(_run_here, [(unit, flags.out) for unit in units], workers, _open_here, (alone,)):
            advance()
            yield own


_here: list[Session] = []  # the session of a worker process


def _open_here(flags: Any) -> None:
    _here.append(open_session(flags))


def _run_here(task: tuple[Unit, Path]) -> list[dict[str, Any]]:
    unit, out = task
    return run_unit(unit, _here[0], unit_folder(out, unit))


def unit_folder(out: Path, unit: Unit) -> Path:
    """Where a unit lives: units/ARM/SEED."""
    return out / "units" / unit.arm.folder / str(unit.seed)


def primary(arms: list[Arm]) -> str | None:
    """The one comparison declared in advance: the first arm with influence weights against its uniform base."""
    return next((arm.name for arm in arms if arm.kind == "influence"), None)


def equal_seconds_units(units: list[Unit], by_unit: dict[tuple[str, int], dict[str, Any]]) -> list[Unit]:
    """For each influence unit that took longer than its uniform base: the base with as many steps as fit its seconds.

    The iterations come from measured seconds, so this control alone is not repeated bit for bit on another machine.
    """
    extra = []
    for unit in units:
        base = by_unit.get((unit.arm.method, unit.seed))
        if unit.arm.kind != "influence" or unit.settings is None or base is None:
            continue
        ratio = by_unit[unit.arm.name, unit.seed]["seconds"] / max(base["seconds"], 1e-9)
        if ratio > WORTH:
            arm = Arm(unit.arm.method, "uniform", ((EQUAL_SECONDS, unit.arm.kind),))
            settings = unit.settings.with_(iterations=round(unit.settings.iterations * ratio))
            plain = dataclasses.replace(unit.weighting, kind="uniform")
            extra.append(dataclasses.replace(unit, arm=arm, settings=settings, weighting=plain))
    return extra


def show(results: dict[str, Any], out: Path) -> None:
    """The verdict table on the terminal, the sentence last."""
    protocols = {line["protocol"] for line in results["summary"]}
    table = Table(header_style="bold")
    for name in ("arm", *(["protocol"] if len(protocols) > 1 else []), "accuracy %", "n", "difference [95 %]", "against"):
        table.add_column(name, no_wrap=name != "arm", overflow="fold")
    for name in ("ess", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    shown: set[tuple[str, str]] = set()
    for line in results["summary"]:
        key = line["arm"], line["protocol"]
        own = [r for r in results["rows"] if (r["arm"], r["protocol"]) == key]
        ess = [r["ess"] for r in own if r["ess"] is not None]
        spread = "" if line["sd"] is None else f" ± {line['sd']:.1f}"
        cells = [
            line["arm"],
            *([line["protocol"]] if len(protocols) > 1 else []),
            f"{line['mean']:.1f}{spread}",
            str(line["n"]),
        ]
        ends = [f"{sum(ess) / len(ess):.2f}" if ess else "", f"{sum(r['seconds'] for r in own) / len(own):.1f}"]
        if key in shown:  # a further comparison of the same arm
            cells, ends = [""] * len(cells), ["", ""]
        shown.add(key)
        table.add_row(*cells, _difference(line), line["against"] or "", *ends)
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 110)
    console.print(table)
    print(f"report: {relative(out / 'report.html')}   numbers: {relative(out / 'results.json')}")
    print(results["verdict"])


def _difference(line: dict[str, Any]) -> str:
    if line["difference"] is None:
        return ""
    interval = f" [{line['low']:+.1f}, {line['high']:+.1f}]" if line["low"] is not None else " (no interval)"
    return f"{line['difference']:+.1f}{interval}"
