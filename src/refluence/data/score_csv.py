"""`scores.csv`: a table of scores for people and spreadsheets, names in place of numbers, the most harmful instance first."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from refluence.errors import InputError, option
from refluence.files import write_text

if TYPE_CHECKING:
    from refluence.data.scores import ScoreTable

HEAD = ("row", "path", "label", "suggestion", "score", "loss", "weight")


def beside(parquet: Path) -> Path:
    """The CSV file of a Parquet file."""
    return parquet.with_suffix(".csv")


def refuse_other(parquet: Path) -> None:
    """`InputError` where the CSV file of a Parquet file is there and holds something else than scores."""
    path = beside(parquet)
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            ours = file.readline().strip() == ",".join(HEAD).encode()
    except OSError:
        ours = False
    if not ours:
        raise InputError(
            f"{option('out')} {parquet}: {path.name} is written beside it, and a file of this name that holds no scores is "
            "there already: choose another name"
        )


def write(table: ScoreTable, parquet: Path) -> None:
    """Write the CSV file beside the Parquet file; a cell is empty where there is no file, suggestion or loss."""
    table = table.most_harmful(len(table))
    count = len(table)
    suggested = [""] * count if table.suggested is None else named(table, table.suggested.tolist())
    cells = (
        table.index.tolist(),
        [""] * count if table.paths is None else table.paths,
        named(table, table.label.tolist()),
        suggested,
        table.score.tolist(),
        ["" if math.isnan(loss) else loss for loss in table.loss.tolist()],
        table.weight.tolist(),
    )
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(HEAD)
    lines.writerows(zip(*cells, strict=True))
    write_text(beside(parquet), text.getvalue())


def named(table: ScoreTable, labels: list[int]) -> list[str]:
    """The names of classes, or their numbers where the table has no names."""
    return [table.classes[label] for label in labels] if table.classes else [str(label) for label in labels]
