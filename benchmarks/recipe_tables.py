"""The tables and figures of docs/results/iwd.md and clean.md, made from the rows in docs/results/raw: no number is typed.

    python benchmarks/recipe_tables.py

A table stands between `<!-- rows: FILE PART … -->` (all parts where none is named) and `<!-- end of rows -->`. Lines without a
row are left out, and so is the column of published numbers where there is none, or the rows are of another set than the
paper's. A figure is drawn beside it where the document shows `figures/NAME.png` of rows `NAME.jsonl`. What stands between the
marks of a file that is not there yet is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refluence.recipes.find import recipe_named
from refluence.recipes.run import choose_parts
from refluence.recipes.table import tabulate
from refluence.report.recipe import as_table, cells, columns
from refluence.report.recipe_figure import draw
from refluence.run.rows import read_rows

RESULTS = Path(__file__).parents[1] / "docs" / "results"
MARKED = re.compile(r"(<!-- rows: (\S+)((?: [\w-]+)*) -->\n).*?(?=<!-- end of rows -->)", re.DOTALL)


def filled(text: str, raw: Path) -> str:
    """The document with every marked table made anew from the rows in the folder `raw`."""

    def made(found: re.Match[str]) -> str:
        path = raw / found[2]
        return found[1] + table(results(path, found[3].split())) if path.exists() else found[0]

    return MARKED.sub(made, text)


def figures(text: str, raw: Path) -> dict[str, bytes]:
    """The PNG of each figure that the document shows, by its path there."""
    marked = [(raw / name, parts.split()) for _, name, parts in MARKED.findall(text)]
    made = {f"figures/{path.stem}.png": (path, parts) for path, parts in marked if path.exists()}
    return {path: draw(results(*of), raw)["png"] for path, of in made.items() if f"({path})" in text}


def results(path: Path, only: Sequence[str]) -> dict[str, Any]:
    """What `refluence run` would keep of these rows and parts, without the lines that have none."""
    rows = read_rows(path)
    recipe, size = recipe_named(rows[0]["recipe"]), rows[0]["size"]
    parts = choose_parts(recipe, size, tuple(only))
    names = {part.name for part in parts}
    found = tabulate(recipe, parts, size, [row for row in rows if row["part"] in names])
    return found | {"lines": [line for line in found["lines"] if line["n"]]}


def table(found: dict[str, Any]) -> str:
    """The verdicts of the parts as quotations, and their lines folded away."""
    heads = columns(found)
    if not any(line["is_set"] and line["published"] for line in found["lines"]):
        heads = heads[:-1]
    verdicts = [f"> {part['part']}: {part['verdict']}  " for part in found["parts"] if part["verdict"]]
    lines = as_table(heads, [line[: len(heads)] for line in cells(found)])
    folded = ["<details>", "<summary>Every arm and comparison</summary>", "", lines, "", "</details>"]
    return "\n".join([*verdicts, "", *folded]) + "\n"


if __name__ == "__main__":
    for document in (RESULTS / "iwd.md", RESULTS / "clean.md"):
        made = filled(document.read_text(encoding="utf-8"), RESULTS / "raw")
        document.write_text(made, encoding="utf-8")
        for path, picture in figures(made, RESULTS / "raw").items():
            (RESULTS / path).write_bytes(picture)
