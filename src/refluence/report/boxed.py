"""Distributions side by side, one per class: the fifth, 25th, 50th, 75th and 95th percentile of each."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from refluence.report import charts
from refluence.report.words import counted

MOST = 20
PERCENTS = {"low": 5, "q1": 25, "middle": 50, "q3": 75, "high": 95}
READING = "The stroke is the median of a class, the box its middle half, the line reaches from the 5th to the 95th percentile."


def boxed(groups: dict[str, np.ndarray], centre: float, axis: str, title: str) -> tuple[Markup, str] | None:
    """The chart of these values (N,) by name, and in words what it leaves out; None of fewer than two names.

    Of more than `MOST` classes those with the greatest value away from `centre` at either end of the line, in their order.
    """
    rows: list[charts.Row] = [
        {"name": name, **{key: float(np.percentile(values, percent)) for key, percent in PERCENTS.items()}}
        for name, values in groups.items()
        if len(values)
    ]
    if len(rows) < 2:
        return None
    far = sorted(rows, key=lambda row: -max(abs(row["low"] - centre), abs(row["high"] - centre)))[:MOST]
    left_out = (
        f"Shown are the {MOST} of {counted(len(rows), 'class', 'classes')} that reach farthest." if len(rows) > MOST else ""
    )
    return charts.boxes([row for row in rows if row in far], centre, axis, title), left_out
