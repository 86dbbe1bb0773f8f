"""A table of scores in a notebook: its highest and its lowest rows."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from refluence.data import score_csv

if TYPE_CHECKING:
    from refluence.data.scores import ScoreTable

SHOWN = 5  # rows at each end


def shown(table: ScoreTable) -> str:
    """Both ends of the table, or all of it where it is short."""
    named = (name for name in ("suggested", "stored") if getattr(table, name) is not None)
    heads = ("index", "label", "score", "loss", *named)
    both = len(table) > 2 * SHOWN
    parts = (table.most_harmful(SHOWN), table.most_helpful(SHOWN)) if both else (table,)
    gap = f'<tr><td colspan="{len(heads)}">…</td></tr>'
    rows = gap.join("".join(_rows(part, heads)) for part in parts)
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<p>{escape(repr(table))}</p><table><tr>{head}</tr>{rows}</table>"


def _rows(table: ScoreTable, heads: tuple[str, ...]) -> list[str]:
    def cell(name: str, value: float) -> str:
        if name in ("label", "suggested", "stored"):
            return "other" if value < 0 else escape(score_csv.named(table, [int(value)])[0])
        return str(int(value)) if name == "index" else f"{value:.4g}"

    columns = [[cell(name, value) for value in getattr(table, name).tolist()] for name in heads]
    return ["<tr>" + "".join(f"<td>{each}</td>" for each in row) + "</tr>" for row in zip(*columns, strict=True)]
