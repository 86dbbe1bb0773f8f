"""`refluence compare`: arms x seeds, paired, with controls, intervals and one sentence at the end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from refluence import report
from refluence.commands import equal_seconds
from refluence.commands.arms import Arm, with_controls
from refluence.commands.flags import Distill
from refluence.commands.networks import check_distillable
from refluence.commands.run_unit import finished, run_unit
from refluence.commands.session import Session, about, arguments, check_numbers, open_session, relative
from refluence.commands.table import show
from refluence.commands.unit import Unit, resolve
from refluence.errors import InputError
from refluence.evaluate.paired import summarise
from refluence.evaluate.verdict import verdict
from refluence.files import read_json, write_json
from refluence.run.folder import CONFIG, check_free, claim, write_config
from refluence.run.progress import one_line_warnings
from refluence.run.workers import automatic, side_by_side


def run(flags: Any) -> None:
    """Run every unit that is not finished, seeds in order, and write results.json and report.html."""
    check_numbers(flags)
    if not flags.methods:
        raise InputError("--methods names no arm: for example --methods random dc dc+influence")
    arms = with_controls(flags.methods, flags.controls)
    if flags.equal_seconds:
        equal_seconds.check(arms)
    check_free(flags.out, "compare", flags.resume)
    session = open_session(flags)
    seeds = [flags.seed + i for i in range(flags.seeds)]
    units = [resolve(flags, arm, session.dataset, seed) for seed in seeds for arm in arms]
    check_distillable(unit.model for unit in units if unit.settings is not None)
    workers = how_many(units, session, flags)
    if workers > 1:
        torch.set_num_threads(flags.threads or 1)  # as in the workers, so that config.json says what they use
    resolved = {
        "arms": {unit.arm.name: unit.describe() for unit in units[: len(arms)]},
        "seeds": seeds,
        "equal_seconds": flags.equal_seconds,
        **about(session, flags),
    }
    claim(flags.out, "compare", arguments(flags), resolved, flags.resume)
    if (flags.out / "results.json").exists() and (flags.out / "report.html").exists():
        show(read_json(flags.out / "results.json"), flags.out)
        print(f"{relative(flags.out)} is finished: nothing to do")
        return

    rows, notes = run_all(units, session, flags, workers), list(session.dataset.notes)
    if flags.equal_seconds:
        extra, said = equal_seconds.units(units, rows, flags.size, flags.out)
        notes += said
        rows += run_all(extra, session, flags, workers)
    summary = summarise(rows, primary(arms))
    results = {"rows": rows, "summary": summary, "verdict": verdict(summary, rows), "notes": notes}
    write_json(flags.out / "results.json", results)
    report.write(flags.out)
    show(results, flags.out)


def how_many(units: list[Unit], session: Session, flags: Any) -> int:
    """Processes: those asked for, else as many as are faster, never more than units."""
    pixels, width = math.prod(session.dataset.shape[1:]), max(unit.model.width for unit in units)
    return min(flags.workers, len(units)) or automatic(pixels, width, len(units), session.compute.device.type)


def run_all(units: list[Unit], session: Session, flags: Any, workers: int) -> list[dict[str, Any]]:
    """Rows of all units, in order. Finished ones are read; the others run one after the other or in processes."""
    for unit in units:
        if not (unit_folder(flags.out, unit) / CONFIG).exists():
            write_unit_config(unit, session, flags)
    left = [unit for unit in units if not finished(unit_folder(flags.out, unit))]
    made = _in_processes(left, flags, session, workers) if min(workers, len(left)) > 1 else None
    rows = []
    for number, unit in enumerate(units, 1):
        own = next(made) if made and unit in left else run_unit(unit, session, unit_folder(flags.out, unit))
        session.reporter.say(f"[{number}/{len(units)}] {unit.arm.name}, seed {unit.seed}: {own[0]['accuracy']:.1f} %")
        rows += own
    return rows


def _in_processes(units: list[Unit], flags: Any, session: Session, workers: int) -> Iterator[list[dict[str, Any]]]:
    alone = dataclasses.replace(flags, quiet=True, threads=flags.threads or 1)
    tasks = [(unit, unit_folder(flags.out, unit)) for unit in units]
    with session.reporter.bar("units", len(units)) as advance:
        for own in side_by_side(_run_here, tasks, min(workers, len(units)), _open_here, (alone,)):
            advance()
            yield own


_here: list[Session] = []  # the session of a worker process


def _open_here(flags: Any) -> None:
    one_line_warnings()
    _here.append(open_session(flags))


def _run_here(task: tuple[Unit, Path]) -> list[dict[str, Any]]:
    return run_unit(task[0], _here[0], task[1])


def unit_folder(out: Path, unit: Unit) -> Path:
    """Where a unit lives: units/ARM/SEED."""
    return out / "units" / unit.arm.folder / str(unit.seed)


def write_unit_config(unit: Unit, session: Session, flags: Any) -> None:
    """config.json of a unit, as the `distill` that makes the same set: evaluate, score, report and repeat can use it."""
    folder = unit_folder(flags.out, unit)
    asked = {f.name: getattr(flags, f.name) for f in dataclasses.fields(Distill) if hasattr(flags, f.name)}
    own = equal_seconds.plain(unit.arm)
    asked |= {"method": own.method, "weights": own.weights, "seed": unit.seed, "out": folder, "resume": False}
    asked |= {"threads": torch.get_num_threads()}
    if unit.settings is not None:
        asked["iterations"] = unit.settings.iterations
    resolved = {"unit": unit.describe(), **about(session, flags)}
    write_config(folder, "distill", arguments(Distill(**asked)), resolved)


def primary(arms: list[Arm]) -> str | None:
    """The one comparison declared in advance: the first arm with influence weights against its uniform base."""
    return next((arm.name for arm in arms if arm.kind == "influence"), None)
