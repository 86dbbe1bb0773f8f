"""A part of a recipe made: a comparison in its own folder, unit by unit, a row of the rows file for each that is finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from refluence.arm import Arm
from refluence.data import SourceOptions
from refluence.errors import InputError, NoRoomError, RunError, option
from refluence.evaluate.paired import summarise
from refluence.files import Json, read_json, write_json
from refluence.jobs.catalogue import parse_arm
from refluence.jobs.comparing import Comparing
from refluence.jobs.comparison import RESULTS, unit_folder, write_unit_config
from refluence.jobs.job import ArmJob
from refluence.jobs.run_job import run_job
from refluence.jobs.session import Machine, Session, about, open_session, usual_threads
from refluence.options import SetOptions, TransferOptions
from refluence.recipes.base import Part, Recipe
from refluence.recipes.pooled import FOLDER, pool
from refluence.recipes.reading import reading, said
from refluence.recipes.rows import Row, borrow, describe, present, verdict_of
from refluence.run import device
from refluence.run.folder import CONFIG, ENDING, check_same, locked, recorded_threads, write_config
from refluence.run.rows import append_rows

Say = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Making:
    """How a recipe is made.

    Rows go to the file `rows`, everything else below `out`. `seeds`: how many of every part (None: the recipe's own), from
    `seed` on. `changes` are fields of `SetOptions` (of students, of `TransferOptions`) instead of the recipe's own; `source`
    says how data are read, above what a part says. `say` gets what is left out and why; `page` writes the page of a folder.
    """

    recipe: Recipe
    out: Path
    rows: Path
    size: str = "cpu"
    seeds: int | None = None
    seed: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)
    source: SourceOptions = field(default_factory=SourceOptions)
    machine: Machine = field(default_factory=Machine)
    say: Say = lambda line: None
    page: Callable[[Path], object] = lambda folder: None

    def comparing(self, part: Part) -> Comparing:
        """The comparison that makes a part: its own options, under the changes."""
        how: dict[str, Any] = {"seeds": self.seeds or part.seeds, "seed": self.seed, "controls": False, "executor": "serial"}
        if part.of_students:
            transfer = TransferOptions(**{"size": self.size, **part.transfer, **self._changes_of_students()})
            return Comparing(methods=part.arms, transfer=transfer, **how)
        own = {"size": self.size, "ipc": part.ipc, "protocol": part.protocols, "model": part.model, **part.options}
        return Comparing(methods=part.arms, options=SetOptions(**{**own, **self.changes}), **how)

    def _changes_of_students(self) -> dict[str, Any]:
        """The changes as a student has them: its network is `model`. `InputError` for what means nothing to a student."""
        known = {f.name for f in fields(TransferOptions)}
        changes = {"student" if name == "model" else name: value for name, value in self.changes.items()}
        if idle := next((name for name in changes if name not in known), None):
            raise InputError(f"{option(idle, changes[idle])} means nothing for {self.recipe.name}, which makes students")
        return changes

    def open(self, part: Part, given: Mapping[str, str]) -> Session:
        """The data of a part, and the machine with the threads that the part's folder was begun with.

        `given`: the source of each set, and the file of labels, by name.
        """
        threads = self.machine.threads or recorded_threads(self.out / part.name)
        how, options = replace(self.machine, threads=threads), reading(part, given, self.source)
        return open_session(
            given[part.data], how, options, per_class=1 if part.of_students else self.comparing(part).options.ipc
        )


def make_part(making: Making, part: Part, given: Mapping[str, str]) -> tuple[bool, list[str]]:
    """Make the units that have no rows yet, all arms of a seed before the next seed, and append their rows.

    `given`: the source of each set, and the file of labels, by name. Returns whether any was made, and what failed. A failed
    unit is left out, the others go on. Where another part, of this or another recipe, has rows of the same unit, they are
    taken.
    """
    session, asked, folder = making.open(part, given), making.comparing(part), making.out / part.name
    with device.threads(usual_threads(session)):
        made, failed = _units(making, part, asked, given[part.data], session)
        gallery = making.recipe.picture == "gallery" and (made or not (folder / FOLDER).exists())
        if gallery and pool(part, asked, session, folder) is None:
            session.reporter.say(
                f"{part.name}: no gallery, which wants the sets of two seeds in {folder / 'units'} (rows have none)"
            )
    return made, failed


def fitting(part: Part, asked: Comparing, session: Session, say: Say) -> list[Arm]:
    """The arms of the part for which the set has images enough; `say` gets the others."""
    arms, resolved = [], asked.resolver(session.dataset)
    for arm in map(parse_arm, part.arms):
        try:
            resolved(arm, asked.seed)
        except NoRoomError as error:
            say(f"{part.name}: {arm.name} is left out: {error}")
        else:
            arms.append(arm)
    return arms


def write_part(making: Making, part: Part, rows: list[Row]) -> None:
    """results.json and the page of the part's own folder, as a comparison has them."""
    folder, recipe = making.out / part.name, making.recipe
    if not rows or not (folder / CONFIG).exists():
        return
    declared = part.primary if any(row["arm"] == part.primary for row in rows) else None
    summary = summarise(rows, declared, part.pairs)
    notes = [f"A part of the recipe {recipe.name}: {recipe.summary}."]
    write_json(folder / RESULTS, {"rows": rows, "summary": summary, "verdict": verdict_of(summary, rows), "notes": notes})
    making.page(folder)


def _units(making: Making, part: Part, asked: Comparing, source: str, session: Session) -> tuple[bool, list[str]]:
    arms, facts_of_all = fitting(part, asked, session, making.say), about(session)
    seeds = range(asked.seed, asked.seed + asked.seeds)
    resolved = asked.resolver(session.dataset)
    jobs = [resolved(arm, seed) for seed in seeds for arm in arms]
    out, path = making.out / part.name, making.rows
    made, failed = False, []
    for number, job in enumerate(jobs, 1):
        facts = describe(making.recipe, part, job, session.compute, source, making.size, said(session.dataset.options))
        wanted = set(job.judged_by)
        have = present(job, facts, path)
        have |= borrow(job, facts, wanted - have, path)
        if wanted <= have:
            continue
        if not made:
            _claim(asked, jobs[: len(arms)], session, out, facts_of_all)
        made, folder = True, unit_folder(out, job)
        write_unit_config(job, asked, session, folder, facts_of_all)
        try:
            with locked(folder, ENDING):
                found = run_job(job, session, folder, making.out / "shared")
        except RunError as error:
            failed.append(f"{part.name}, {error}")
            session.reporter.say(f"{part.name}: {error}")
            continue
        append_rows(path, [{**facts, **row} for row in found if row["protocol"] not in have])
        done = f"[{number}/{len(jobs)}] {part.name}: {job.arm.name}, seed {job.seed}"
        session.reporter.say(f"{done}: {found[0]['accuracy']:.1f} %")
    return made, failed


def _claim(asked: Comparing, jobs: list[ArmJob], session: Session, out: Path, facts: Json) -> None:
    """config.json of the part's folder, as that of a comparison; more seeds than before may be asked for, nothing else."""
    resolved = {"arms": {job.arm.name: job.to_json() for job in jobs}, "equal_seconds": False, **facts}
    path = out / CONFIG
    if path.exists():
        stored = read_json(path)["resolved"]
        check_same(out, {k: v for k, v in stored.items() if k != "seeds"}, resolved)
    resolved["seeds"] = list(range(asked.seed, asked.seed + asked.seeds))
    write_config(out, "compare", asked.arguments(jobs[0], session, out), resolved)
