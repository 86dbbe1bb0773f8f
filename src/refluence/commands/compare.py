"""`refluence compare`: arms x seeds, paired, with controls, intervals and one sentence at the end."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch

from refluence import report
from refluence.commands.flags import Distill
from refluence.commands.session import about, arguments, open_session, relative
from refluence.commands.table import show
from refluence.errors import InputError
from refluence.evaluate.paired import summarise
from refluence.evaluate.verdict import verdict
from refluence.files import read_json, write_json
from refluence.jobs import equal_seconds
from refluence.jobs.catalogue import with_controls
from refluence.jobs.job import Job
from refluence.jobs.resolve import resolve
from refluence.jobs.run_job import finished, run_job
from refluence.jobs.session import Session
from refluence.run import device as machine
from refluence.run.execute import Executor, automatic, parse
from refluence.run.folder import CONFIG, ENDING, check_free, claimed, locked, recorded_threads, write_config
from refluence.run.progress import one_line_warnings

OUTCOME = ("results.json", "report.html")
GROWING = ("arms", "seeds")  # more of these may be asked for with --resume


def run(flags: Any) -> None:
    """Run every unit that is not finished, seeds in order, and write results.json and report.html."""
    if not flags.methods:
        raise InputError("--methods names no arm: for example --methods random dc dc+influence")
    arms = with_controls(flags.methods, flags.controls)
    if flags.equal_seconds:
        equal_seconds.check(arms)
    parse(flags.executor, flags.workers)
    check_free(flags.out, "compare", flags.resume)
    flags = dataclasses.replace(flags, threads=flags.threads or recorded_threads(flags.out))
    session = open_session(flags)
    seeds = [flags.seed + i for i in range(flags.seeds)]
    units = [resolve(flags, arm, session.dataset, seed) for seed in seeds for arm in arms]
    for unit in units[: len(arms)]:
        unit.plan.check_model(unit.model)
    executor = executor_of(units, session, flags)
    if executor.size > 1:
        machine.set_threads(flags.threads or 1)  # those of every unit, wherever it runs
    resolved = {
        "arms": {unit.arm.name: unit.to_json() for unit in units[: len(arms)]},
        "seeds": seeds,
        "equal_seconds": flags.equal_seconds,
        **about(session, flags),
    }
    with claimed(
        flags.out, "compare", arguments(flags), resolved, flags.resume, outcome=OUTCOME, growing=GROWING
    ) as finished_before:
        if finished_before:
            show(read_json(flags.out / "results.json"), flags.out)
            print(f"{relative(flags.out)} is finished: nothing to do")
            return
        rows, notes = run_all(units, session, flags, executor), list(session.dataset.notes)
        if flags.equal_seconds:
            extra, said = equal_seconds.jobs(units, rows, flags.size, flags.out)
            notes += said
            rows += run_all(extra, session, flags, executor)
        summary = summarise(rows)
        results = {"rows": rows, "summary": summary, "verdict": verdict(summary, rows), "notes": notes}
        write_json(flags.out / "results.json", results)
        report.write(flags.out)
    show(results, flags.out)


def executor_of(units: list[Job], session: Session, flags: Any) -> Executor:
    """The executor that was asked for, else as many processes as are faster; never larger than the number of units."""
    pixels, width = math.prod(session.dataset.shape[1:]), max(unit.model.width for unit in units)
    default = automatic(pixels, width, len(units), session.compute.device.type)
    return parse(flags.executor, flags.workers).open(len(units), default)


def run_all(units: list[Job], session: Session, flags: Any, executor: Executor) -> list[dict[str, Any]]:
    """Rows of all units, in order. Finished ones are read; the executor runs the others."""
    for unit in units:
        if not (unit_folder(flags.out, unit) / CONFIG).exists():
            write_unit_config(unit, session, flags)
    left = [unit for unit in units if not finished(unit_folder(flags.out, unit))]
    tasks = [(unit, unit_folder(flags.out, unit), torch.get_num_threads()) for unit in left]
    context = partial(_open, dataclasses.replace(flags, quiet=True)) if executor.size > 1 else lambda: session
    rows = []
    try:
        made = executor.run(_make, tasks, context)
        if executor.size > 1 and left:
            made = session.reporter.track(made, "units", len(left))
        for number, unit in enumerate(units, 1):
            own = next(made) if unit in left else run_job(unit, session, unit_folder(flags.out, unit))
            session.reporter.say(f"[{number}/{len(units)}] {unit.arm.name}, seed {unit.seed}: {own[0]['accuracy']:.1f} %")
            rows += own
    finally:
        executor.close()
    return rows


def _open(flags: Any) -> Session:
    one_line_warnings()
    return open_session(flags)


def _make(session: Session, task: tuple[Job, Path, int]) -> list[dict[str, Any]]:
    """Rows of a unit that is made in its folder with its own number of threads."""
    unit, folder, threads = task
    with locked(folder, ENDING), machine.threads(threads):
        return run_job(unit, session, folder)


def unit_folder(out: Path, unit: Job) -> Path:
    """Where a unit lives: units/ARM/SEED."""
    return out / "units" / unit.arm.folder / str(unit.seed)


def write_unit_config(unit: Job, session: Session, flags: Any) -> None:
    """config.json of a unit, as the `distill` that makes the same set: evaluate, score, report and repeat can use it."""
    folder = unit_folder(flags.out, unit)
    asked = {f.name: getattr(flags, f.name) for f in dataclasses.fields(Distill) if hasattr(flags, f.name)}
    own = equal_seconds.plain(unit.arm)
    asked |= {"method": own.method, "weights": own.weights, "seed": unit.seed, "out": folder, "resume": False}
    asked |= {"threads": torch.get_num_threads()}
    asked["iterations"] = unit.plan.iterations or asked["iterations"]
    resolved = {"unit": unit.to_json(), **about(session, flags)}
    write_config(folder, "distill", arguments(Distill(**asked)), resolved)
