"""`refluence run RECIPE`: a table or figure of a paper, our numbers beside the published ones; it grows sitting by sitting."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from refluence import report
from refluence.commands.run_part import make_part, write_part
from refluence.commands.run_rows import data_name, own_rows
from refluence.commands.run_steps import try_part
from refluence.commands.session import arguments
from refluence.commands.table import show_recipe
from refluence.errors import InputError, RunError
from refluence.files import check_writable, read_json, write_json
from refluence.recipes.base import Part, Recipe
from refluence.recipes.find import recipe_named
from refluence.recipes.table import tabulate
from refluence.run.folder import CONFIG, check_free, check_same, claimed, configuration
from refluence.run.rows import read_rows


def run(flags: Any) -> None:
    """Make what is missing, part by part and seed by seed, and write the recipe's table, figure and page."""
    recipe = recipe_named(flags.recipe)
    parts = choose_parts(recipe, flags.size, flags.only)
    if flags.steps is not None:
        return _try(recipe, parts, flags)
    if flags.out is None:
        raise InputError(f"--out is missing: the folder of this run, for example --out runs/{recipe.name}")
    path, own = flags.rows or flags.out / "rows.jsonl", {"recipe": recipe.name, "size": flags.size, "seed": flags.seed}
    if flags.tables:
        if (flags.out / CONFIG).exists():
            check_same(flags.out, configuration(flags.out)["resolved"], own)
        return _tables(recipe, parts, path, flags)
    given = sources(recipe, flags.size, flags.data)
    check_free(flags.out, "run", flags.resume)
    check_writable(path)
    read_rows(path)
    with claimed(flags.out, "run", arguments(flags), own, flags.resume):
        failed = _make(recipe, parts, given, path, flags)
    _show(flags.out)
    if failed:
        raise RunError(f"{len(failed)} units failed, the others are in the table: {'; '.join(failed)}")


def _make(recipe: Recipe, parts: tuple[Part, ...], given: dict[str, str], path: Path, flags: Any) -> list[str]:
    """Make what is missing of the parts whose data is given, and the table; returns what failed."""
    left_out = [part.name for part in parts if part.data not in given]
    if left_out:
        sets = dict.fromkeys(part.data for part in parts if part.data not in given)
        print(f"{len(left_out)} parts left out: no --data {' '.join(f'{name}=SRC' for name in sets)}", file=sys.stderr)
    parts, failed = tuple(part for part in parts if part.data in given), []
    if not flags.quiet:
        print(planned(recipe, parts, flags.seeds), file=sys.stderr)
    for part in parts:
        made, why = make_part(recipe, part, given[part.data], path, flags)
        failed += why
        if made or not (flags.out / "results.json").exists():
            names = {data: data_name(source) for data, source in given.items()}
            write_part(recipe, part, own_rows(recipe, part, names[part.data], flags.size, _rows(path, flags)), flags.out)
            _grown(recipe, parts, path, names, flags)
    _grown(recipe, parts, path, {data: data_name(source) for data, source in given.items()}, flags)
    return failed


def choose_parts(recipe: Recipe, size: str, only: tuple[str, ...]) -> tuple[Part, ...]:
    """The parts that `--only` names, in the recipe's order; a name may have wildcards."""
    parts = recipe.parts(size)
    for pattern in only:
        if not any(fnmatchcase(part.name, pattern) for part in parts):
            raise InputError(f"--only {pattern}: {recipe.name} has the parts {', '.join(part.name for part in parts)}")
    return tuple(part for part in parts if not only or any(fnmatchcase(part.name, pattern) for pattern in only))


def planned(recipe: Recipe, parts: Sequence[Part], seeds: int | None) -> str:
    """How much a run is, before it begins: units (an arm with a seed) by part."""
    units = {part.name: len(part.arms) * (seeds or part.seeds) for part in parts}
    each = ", ".join(f"{name} {count}" for name, count in units.items())
    more = f" ({each}); --only takes some of them" if len(units) > 1 else ""
    return f"{recipe.name}: at most {sum(units.values())} sets to make and judge; those that have rows are not made again{more}"


def sources(recipe: Recipe, size: str, words: tuple[str, ...]) -> dict[str, str]:
    """`cifar10=SRC` or SRC alone, which stands for the recipe's main set, to {set: source}."""
    sets, found = recipe.sets(size), {}
    if not words:
        raise InputError(f"--data is missing: SRC for {sets[0]}" + "".join(f", {name}=SRC" for name in sets[1:]))
    for word in words:
        name, equals, source = word.partition("=")
        if not (equals and name in sets):
            name, source = sets[0], word
        if not source:
            raise InputError(f"--data {word}: expected {name}=SRC")
        if name in found:
            raise InputError(
                f"--data gives {name} twice ({found[name]}, {source}): name the others, {', '.join(sets)}, as NAME=SRC"
            )
        found[name] = source
    return found


def _rows(path: Path, flags: Any) -> list[dict[str, Any]]:
    """The rows of the seeds from the first one that was asked for on."""
    return [row for row in read_rows(path) if row.get("seed", 0) >= flags.seed]


def _tables(recipe: Recipe, parts: tuple[Part, ...], path: Path, flags: Any) -> None:
    """The table of rows alone; nothing is run."""
    rows = [row for row in _rows(path, flags) if (row.get("recipe"), row.get("size")) == (recipe.name, flags.size)]
    if not rows:
        since = f" from seed {flags.seed} on" if flags.seed else ""
        raise InputError(f"{path} holds no rows of {recipe.name} at size {flags.size}{since}: make some without --tables")
    names = {data: data_name(source) for data, source in sources(recipe, flags.size, flags.data).items()} if flags.data else {}
    for data in dict.fromkeys(row["set"] for row in rows):
        found = list(dict.fromkeys(row["data"] for row in rows if row["set"] == data))
        if data not in names and len(found) > 1:
            raise InputError(f"{path} holds rows of {data} from {' and '.join(found)}: choose with --data {data}={found[0]}")
        names.setdefault(data, found[0])
    _write(recipe, parts, path, names, flags)
    _show(flags.out)


def _grown(recipe: Recipe, chosen: tuple[Part, ...], path: Path, names: dict[str, str], flags: Any) -> None:
    """Table, figure and page of the chosen parts and of those that have rows from before."""
    rows, every = _rows(path, flags), recipe.parts(flags.size)
    made = [part for part in every if part.data in names and own_rows(recipe, part, names[part.data], flags.size, rows)]
    _write(recipe, tuple(part for part in every if part in made or part in chosen), path, names, flags)


def _write(recipe: Recipe, parts: tuple[Part, ...], path: Path, names: dict[str, str], flags: Any) -> None:
    rows = _rows(path, flags)
    own = [row for part in parts if part.data in names for row in own_rows(recipe, part, names[part.data], flags.size, rows)]
    write_json(flags.out / "results.json", tabulate(recipe, parts, flags.size, own, flags.seeds))
    report.write_recipe(flags.out)


def _show(out: Path) -> None:
    show_recipe(read_json(out / "results.json"), out)


def _try(recipe: Recipe, parts: tuple[Part, ...], flags: Any) -> None:
    given = sources(recipe, flags.size, flags.data)
    tried = [line for part in parts if part.data in given for line in try_part(part, given[part.data], flags)]
    print(f"{recipe.name} at size {flags.size}: {len(tried)} arms start and step; nothing is written")
