"""Distributions side by side, one per class: percentiles of the values of each, of a few values all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from refluence.report import charts
from refluence.report.words import counted

MOST = 20
FEW = 5  # values that a box needs
PERCENTS = {"low": 5, "q1": 25, "middle": 50, "q3": 75, "high": 95}
STROKE = "The stroke is the median of a class"
BOX = "the box its middle half, the line reaches from the 5th to the 95th percentile"


@dataclass(frozen=True)
class Boxed:
    """A chart of distributions, how it is read, and what it leaves out ("": nothing)."""

    chart: Markup
    reading: str
    left_out: str


def boxed(groups: dict[str, np.ndarray], centre: float, axis: str, title: str) -> Boxed | None:
    """The chart of these values (N,) by name; None of fewer than two names. Of fewer than `FEW` values each is a dot.

    Of more than `MOST` classes those with the greatest value away from `centre` at either end of the line, in their order.
    """
    rows = [_row(name, values) for name, values in groups.items() if len(values)]
    if len(rows) < 2:
        return None
    far = sorted(rows, key=lambda row: -max(abs(row["low"] - centre), abs(row["high"] - centre)))[:MOST]
    left_out = (
        f"Shown are the {MOST} of {counted(len(rows), 'class', 'classes')} that reach farthest." if len(rows) > MOST else ""
    )
    shown = [row for row in rows if row in far]
    return Boxed(charts.boxes(shown, centre, axis, title), _reading(shown), left_out)


def _row(name: str, values: np.ndarray) -> charts.Row:
    """A line of the chart: percentiles, or of a few values their median and themselves, from end to end."""
    if len(values) >= FEW:
        return {"name": name, "values": [], **{k: float(np.percentile(values, percent)) for k, percent in PERCENTS.items()}}
    ends = {"low": float(values.min()), "middle": float(np.median(values)), "high": float(values.max())}
    return {"name": name, "values": values.astype(float).tolist(), **ends}


def _reading(rows: list[charts.Row]) -> str:
    few = [row for row in rows if row["values"]]
    if len(few) == len(rows):
        return f"Dots are values. {STROKE}."
    return f"{STROKE}, {BOX}." + (f" Of fewer than {FEW} values each is a dot." if few else "")
