"""`refluence run RECIPE`: a table or figure of a paper, our numbers beside the published ones; it grows sitting by sitting."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from refluence import report
from refluence.commands.flags import Run
from refluence.commands.own_flags import ChangeFlags
from refluence.commands.session import arguments, machine_of
from refluence.commands.table import show_recipe
from refluence.errors import InputError, RunError
from refluence.fields import subset
from refluence.files import check_writable, read_json
from refluence.options import SourceOptions
from refluence.recipes.base import Recipe
from refluence.recipes.find import recipe_named
from refluence.recipes.making import Making
from refluence.recipes.run import choose_parts, make, sources, tables, with_data
from refluence.recipes.trial import try_parts
from refluence.run import device
from refluence.run.folder import check_free


def run(flags: Run) -> None:
    """Make what is missing, part by part and seed by seed, and write the recipe's table, figure and page."""
    recipe = recipe_named(flags.recipe)
    parts = choose_parts(recipe, flags.size, flags.only)
    if flags.out is None and flags.steps is None:
        raise InputError(f"--out is missing: the folder of this run, for example --out runs/{recipe.name}")
    making, failed = making_of(recipe, flags, flags.out or Path()), list[str]()
    device.prepare(flags.threads)
    if flags.steps is not None:
        given, count = sources(recipe, flags.size, flags.data), 0
        for line in try_parts(making, with_data(parts, given, making.say), given, flags.steps):
            print(line, flush=True)
            count += 1
        print(f"{recipe.name} at size {flags.size}: {count} arms start and step; nothing is written")
        return
    if flags.tables:
        tables(making, parts, sources(recipe, flags.size, flags.data) if flags.data else {})
    else:
        given = sources(recipe, flags.size, flags.data)
        check_free(making.out, "run", flags.resume)
        check_writable(making.rows)
        failed = make(making, parts, given, arguments(flags), flags.resume)
    show_recipe(read_json(making.out / "results.json"), making.out)
    if failed:
        raise RunError(f"{len(failed)} units failed, the others are in the table: {'; '.join(failed)}")


def making_of(recipe: Recipe, flags: Run, out: Path) -> Making:
    """How the flags ask to make a recipe."""
    return Making(
        recipe=recipe,
        out=out,
        rows=flags.rows or out / "rows.jsonl",
        size=flags.size,
        seeds=flags.seeds,
        seed=flags.seed,
        changes={name: value for name, value in asdict(subset(ChangeFlags, flags)).items() if value is not None},
        source=subset(SourceOptions, flags, without=("rows",)),  # here a file: each part says how many rows it has
        machine=machine_of(flags),
        say=lambda line: print(line, file=sys.stderr),
        page=report.write_folder,
    )
