"""Rows of a recipe's units: what each says of its unit, which are there already, and which another part has made."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path

from refluence.arm import read_arm
from refluence.compute import Compute
from refluence.errors import InputError, option
from refluence.evaluate.at_chance import at_chance
from refluence.evaluate.paired import Summary
from refluence.evaluate.verdict import verdict
from refluence.files import Json
from refluence.generate.settings import deciding
from refluence.jobs.job import ArmJob
from refluence.recipes.base import Part, Recipe
from refluence.recipes.reading import in_words
from refluence.run.rows import append_rows, read_rows
from refluence.version import __version__

Row = Json
OLDER = {"precision": "fp32"}  # of rows from before it was kept
OF_SAMPLING = ("sampling", "denoiser", "minimax", "guide")
DECIDING = (
    "settings",
    "weighting",
    "factor",
    "selection_steps",
    "ranking_steps",
    "table",
    "on",
    "transfer",
    "teacher",
    *OF_SAMPLING,
)  # of a job
PLACE = ("recipe", "part", "set", "data", "size")  # of a row


def describe(recipe: Recipe, part: Part, unit: ArmJob, compute: Compute, source: str, size: str, read: Json) -> Row:
    """What a row says of its unit beside the accuracies. `read`: how the source was read (`reading.said`).

    `settings` is a digest of every number of the method and its weights. What is off (0, False, empty) is left out of it: a
    later version that has another option leaves the digest as it was.
    """
    model, numbers = unit.model, unit.to_json()
    switched_on = _switched_on({name: numbers[name] for name in DECIDING if numbers.get(name)})
    return {
        **dict(zip(PLACE, (recipe.name, part.name, part.data, data_name(source), size), strict=True)),
        "ipc": unit.ipc,
        "model": model.name,
        "width": model.width,
        "classes": model.classes,
        "norm": model.norm,
        "real_batch": (numbers.get("settings") or {}).get("real_batch"),
        "split": unit.split,
        "settings": hashlib.sha256(json.dumps(switched_on, sort_keys=True).encode()).hexdigest()[:12],
        "date": datetime.date.today().isoformat(),
        "refluence": __version__,
        "precision": compute.precision,
        "compile": compute.compile,
        "source": read,
    }


def verdict_of(summary: list[Summary], rows: list[Row]) -> str:
    """The verdict on a part, and before it whether sets that are sampled teach nothing (rows of before it know no classes)."""
    classes = next((row["classes"] for row in rows if "classes" in row), None)
    return (at_chance(rows, classes) if classes else "") + verdict(summary, rows)


def data_name(source: str) -> str:
    """A source as rows name it: without the folders above it."""
    folder, colon, task = source.rpartition(":") if not Path(source).exists() else (source, "", "")
    return Path(folder).resolve().name + colon + task if folder and Path(folder).exists() else source


def own_rows(recipe: Recipe, part: Part, data: str, size: str, rows: list[Row]) -> list[Row]:
    """The rows of this part, on this data, at this size, of the arms that it has."""
    key = (recipe.name, part.name, data, size)
    return [r for r in rows if tuple(r.get(k) for k in ("recipe", "part", "data", "size")) == key and r["arm"] in part.arms]


def present(unit: ArmJob, facts: Row, path: Path) -> set[str]:
    """The protocols under which the part has rows of the unit in `path`; `InputError` where they have other numbers."""
    found = [row for row in _rows_of(unit, facts, PLACE, path) if row["arm"] == unit.arm.name]
    for row in found:
        other = _difference(unit, facts, row)
        if other is not None:
            raise InputError(
                f"{path} has {facts['part']}, {unit.what} with {other}: give the same flags, or another file with "
                f"{option('rows')}"
            )
    return {row["protocol"] for row in found}


def borrow(unit: ArmJob, facts: Row, missing: set[str], path: Path) -> set[str]:
    """Add to the part the rows that another part, of any recipe, has of this unit; returns their protocols.

    A distilled set may have another name there (`dc+influence:tau=1` is `dc+influence`): the numbers decide.
    """
    found = {
        row["protocol"]: row
        for row in _rows_of(unit, facts, ("data", "size"), path)
        if row["protocol"] in missing
        and _same(unit, row["arm"])
        and _difference(unit, facts, row) is None
        and ("source" in row or not facts["source"])  # rows from before it was kept are of sources as they are
    }
    if found:
        own = {**{name: facts[name] for name in PLACE}, "arm": unit.arm.name}
        append_rows(path, [{**row, **own} for row in found.values()])
    return set(found)


def _same(unit: ArmJob, name: str) -> bool:
    """Whether an arm may be the unit's: of the same name, or of the same method that distils, whose digest has every number."""
    return name == unit.arm.name or (unit.plan.iterations > 0 and read_arm(name).method == unit.arm.method)


def _rows_of(unit: ArmJob, facts: Row, place: tuple[str, ...], path: Path) -> list[Row]:
    same = {**{name: facts[name] for name in place}, "seed": unit.seed}
    return [row for row in read_rows(path) if all(row.get(name) == value for name, value in same.items())]


def _switched_on(numbers: Json) -> Json:
    """Numbers of a job without what is off, and without where a file or folder lies, whose digest stands beside.

    Of a sampling at every depth; of the others at the first, as in rows that there are.
    """
    if isinstance(sampling := numbers.get("sampling"), dict):
        numbers = {**numbers, "sampling": deciding(sampling)}
    deep = {k: _without_off(numbers[k]) for k in OF_SAMPLING if k in numbers}
    flat = {k: {n: v for n, v in d.items() if v and n != "file"} if isinstance(d, dict) else d for k, d in numbers.items()}
    return {k: d for k, d in {**flat, **deep}.items() if d}


def _without_off(numbers: Json) -> Json:
    every = {k: _without_off(v) if isinstance(v, dict) else v for k, v in numbers.items() if k != "where"}
    return {k: v for k, v in every.items() if v}


def _difference(unit: ArmJob, facts: Row, row: Row) -> str | None:
    """The first number with which a row was made otherwise than the unit would be, in words.

    How the source was read is compared where the row says it: no part from before it was kept has a reading of its own.
    """
    if row.get("source", facts["source"]) != facts["source"]:
        read, here = (in_words(each) or "the source as it is" for each in (row["source"], facts["source"]))
        return f"{read}, here it is {here}"
    names = ("ipc", "precision", "model", "width", "norm", "real_batch", "split", "settings")  # the digest last
    asked = {"iterations": unit.plan.iterations, "nets": unit.nets, **{name: facts[name] for name in names}}
    for name, value in asked.items():
        stored = len(row["nets"]) if name == "nets" else row.get(name, OLDER.get(name))
        if stored != value:
            digest = name == "settings"
            return "other numbers of its method or weights than here" if digest else f"{name} {stored}, here it is {value}"
    return None
