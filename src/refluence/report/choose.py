"""The page of a folder, chosen by what the folder holds: a recipe, a comparison, or a run."""

from __future__ import annotations

from pathlib import Path

from refluence.files import read_json
from refluence.report.page import write
from refluence.report.recipe import write_recipe


def write_folder(folder: Path) -> list[Path]:
    """Write the page of a folder, and what goes with it; return what was written, the page last.

    `results.json` of a recipe names the recipe. Errors: `InputError` where the folder holds nothing to show.
    """
    results = folder / "results.json"
    if results.exists() and "recipe" in read_json(results):
        return write_recipe(folder)
    return [write(folder)]
