"""A part of a recipe made: a comparison in its own folder, unit by unit, a row of the rows file for each that is finished."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from refluence import report
from refluence.arm import Arm
from refluence.commands.flags import Compare
from refluence.commands.pooled import FOLDER, pool
from refluence.commands.run_rows import Row, borrow, describe, present
from refluence.commands.session import about, arguments, open_session
from refluence.errors import NoRoomError, RunError
from refluence.evaluate.paired import summarise
from refluence.evaluate.verdict import verdict
from refluence.files import read_json, write_json
from refluence.jobs.catalogue import parse_arm
from refluence.jobs.comparison import unit_folder, write_unit_config
from refluence.jobs.job import Job
from refluence.jobs.resolve import resolve
from refluence.jobs.run_job import run_job
from refluence.jobs.session import Session
from refluence.recipes.base import Part, Recipe
from refluence.run.folder import CONFIG, ENDING, check_same, locked, recorded_threads, write_config
from refluence.run.rows import append_rows

CHANGES = ("iterations", "real_batch", "width", "nets", "epochs", "batch", "split")  # flags of `run` that override a part's own


def compare_flags(part: Part, source: str, flags: Any, out: Path) -> Compare:
    """The flags of `refluence compare` that make this part: its own, under those that were given to `run`."""
    names = {field.name for field in dataclasses.fields(Compare)} - {"data", "out", "resume", "methods"}
    shared = {name: getattr(flags, name) for name in names if hasattr(flags, name) and name not in CHANGES}
    changes = {name: getattr(flags, name) for name in CHANGES if getattr(flags, name) is not None}
    own = {"ipc": part.ipc, "protocol": part.protocols, "model": part.model, "controls": False, "workers": 1, **part.flags}
    shared |= {"seeds": flags.seeds or part.seeds}
    return Compare(data=source, methods=part.arms, out=out / part.name, resume=True, **{**shared, **own, **changes})


def make_part(recipe: Recipe, part: Part, source: str, path: Path, flags: Any) -> tuple[bool, list[str]]:
    """Make the units that have no rows in `path` yet, all arms of a seed before the next seed, and append their rows.

    Returns whether any was made, and what failed. A failed unit is left out, the others go on. Where another part, of this or
    another recipe, has rows of the same unit there, they are taken.
    """
    asked = compare_flags(part, source, flags, flags.out)
    asked = dataclasses.replace(asked, threads=asked.threads or recorded_threads(asked.out))
    session = open_session(asked)
    facts_of_session = about(session, asked)
    arms = fitting(part, session, asked)
    units = [resolve(asked, arm, session.dataset, seed) for seed in seeds(asked) for arm in arms]
    made, failed = False, []
    for number, unit in enumerate(units, 1):
        facts = describe(recipe, part, unit, session.compute, source, flags.size)
        wanted = {protocol.name for protocol in unit.protocols}
        have = present(unit, facts, path)
        have |= borrow(unit, facts, wanted - have, path)
        if wanted <= have:
            continue
        if not made:
            _claim(units[: len(arms)], session, asked)
        made, folder = True, unit_folder(asked.out, unit)
        write_unit_config(unit, asked, session, folder, facts_of_session)
        try:
            with locked(folder, ENDING):
                found = run_job(unit, session, folder)
        except RunError as error:
            failed.append(f"{part.name}, {error}")
            session.reporter.say(f"{part.name}: {error}")
            continue
        append_rows(path, [{**facts, **row} for row in found if row["protocol"] not in have])
        done = f"[{number}/{len(units)}] {part.name}: {unit.arm.name}, seed {unit.seed}"
        session.reporter.say(f"{done}: {found[0]['accuracy']:.1f} %")
    if recipe.picture == "gallery" and (made or not (asked.out / FOLDER).exists()) and pool(part, session, asked) is None:
        session.reporter.say(
            f"{part.name}: no gallery, which wants the sets of two seeds in {asked.out / 'units'} (rows have none)"
        )
    return made, failed


def seeds(asked: Compare) -> range:
    """The seeds of a part."""
    return range(asked.seed, asked.seed + asked.seeds)


def fitting(part: Part, session: Session, asked: Compare) -> list[Arm]:
    """The arms of the part for which the set has images enough; the others are said."""
    arms = []
    for arm in map(parse_arm, part.arms):
        try:
            resolve(asked, arm, session.dataset, asked.seed)
        except NoRoomError as error:
            print(f"{part.name}: {arm.name} is left out: {error}", file=sys.stderr)
        else:
            arms.append(arm)
    return arms


def write_part(recipe: Recipe, part: Part, rows: list[Row], out: Path) -> None:
    """results.json and report.html of the part's own folder, as a comparison has them."""
    folder = out / part.name
    if not rows or not (folder / CONFIG).exists():
        return
    arms = [parse_arm(text) for text in part.arms if any(r["arm"] == text for r in rows)]
    declared = part.primary if part.primary in (arm.name for arm in arms) else None
    summary = summarise(rows, declared, part.pairs)
    notes = [f"A part of the recipe {recipe.name}: {recipe.summary}."]
    write_json(folder / "results.json", {"rows": rows, "summary": summary, "verdict": verdict(summary, rows), "notes": notes})
    report.write(folder)


def _claim(units: list[Job], session: Session, asked: Compare) -> None:
    """config.json of the part's folder, as that of a comparison; more seeds than before may be asked for, nothing else."""
    resolved = {
        "arms": {unit.arm.name: unit.to_json() for unit in units},
        "equal_seconds": False,
        **about(session, asked),
    }
    path = asked.out / CONFIG
    if path.exists():
        stored = read_json(path)["resolved"]
        check_same(asked.out, {k: v for k, v in stored.items() if k != "seeds"}, resolved)
    resolved["seeds"] = list(seeds(asked))
    write_config(asked.out, "compare", arguments(dataclasses.replace(asked, resume=False)), resolved)
