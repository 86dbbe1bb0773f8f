"""Drawings of many small marks, written as SVG by hand: points of the plane, and a matrix as a heat map.

Vega gives every mark an element of its own, twenty times the bytes. The inks are those of charts.py, which the style sheet
replaces in dark mode.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from refluence.report.charts import INK, LOWERS, PALETTE
from refluence.report.words import finite, fixed

SIDE = 240  # of a drawing, in its own units
ROOM = 6
FAINT = 0.06  # how opaque the lowest cell of a heat map is; the highest:
STRONG = 0.6
GREY = PALETTE[0]
"""The ink of real images."""

Point = tuple[float, float]


def cloud(groups: Sequence[tuple[Sequence[Point], str, float]], title: str) -> Markup:
    """Points of the plane in one common scale, a group over the other: (points, ink, diameter)."""
    every = [point for points, _, _ in groups for point in points]
    low = [min(point[axis] for point in every) for axis in (0, 1)]
    high = [max(point[axis] for point in every) for axis in (0, 1)]
    scale = (SIDE - 2 * ROOM) / (max(b - a for a, b in zip(low, high, strict=True)) or 1.0)
    paths = Markup("").join(
        Markup('<path d="{}" fill="none" stroke="{}" stroke-width="{}" stroke-linecap="round" stroke-opacity=".75"/>').format(
            "".join(f"M{ROOM + (x - low[0]) * scale:.1f} {ROOM + (high[1] - y) * scale:.1f}h0" for x, y in points), ink, width
        )
        for points, ink, width in groups
    )
    height = 2 * ROOM + (high[1] - low[1]) * scale
    return _drawing(SIDE, height, title, paths)


def heat(matrix: Sequence[Sequence[float]], span: tuple[float, float], title: str) -> Markup:
    """A square matrix in percent, row above row, each cell with its number; `span` has the faintest and the strongest ink.

    Its diagonal is left empty: it is not of the kind of the others.
    """
    size = SIDE / len(matrix)
    cells = Markup("")
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            if row != column:
                cells += _cell(column * size, row * size, size, finite(value), span)
    return _drawing(SIDE, SIDE, title, cells)


def _cell(x: float, y: float, size: float, value: float | None, span: tuple[float, float]) -> Markup:
    share = 0.0 if value is None else min(1.0, max(0.0, (value - span[0]) / ((span[1] - span[0]) or 1.0)))
    box = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}" fill-opacity="{:.2f}"/>').format(
        x + 0.5, y + 0.5, size - 1, size - 1, LOWERS, FAINT + (STRONG - FAINT) * share
    )
    words = Markup(
        '<text x="{:.1f}" y="{:.1f}" text-anchor="middle" font-size="{:.1f}" fill="{}" style="stroke:none">{}</text>'
    )
    middle = size / 2
    return box + words.format(x + middle, y + middle + 0.14 * size, min(12.0, 0.42 * size), INK, fixed(value, 0))


def _drawing(width: float, height: float, title: str, body: Markup) -> Markup:
    return Markup(
        '<svg class="drawn" role="img" aria-label="{0}" width="{1:.0f}" height="{2:.0f}" viewBox="0 0 {1:.0f} {2:.0f}">'
        "<title>{0}</title>{3}</svg>"
    ).format(title, width, height, body)
