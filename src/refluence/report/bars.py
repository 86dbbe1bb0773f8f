"""Bars: one a name from 0, and histograms of groups over each other."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
from markupsafe import Markup

from refluence.report import charts


def bars(rows: Sequence[charts.Row], level: float, axis: str, title: str) -> Markup:
    """A bar from 0 per name, {"name", "value", "colour"}; `level` is a dashed line through all of them."""

    def draw(narrow: bool) -> charts.Drawing:
        y = alt.Y("name:N", sort=[row["name"] for row in rows], axis=None)
        chart = alt.Chart(alt.Data(values=list(rows)))
        text = chart.mark_text(
            align="left", dy=-9, limit=(charts.NARROW if narrow else charts.WIDE) - 8, color=charts.INK, fontSize=12
        )
        layers = [
            chart.mark_bar(height=9, opacity=0.8, yOffset=6).encode(
                x=alt.X("value:Q", title=axis, scale=alt.Scale(zero=True)), y=y, color=alt.Color("colour:N", scale=None)
            ),
            charts.level_line("x", level),
            text.encode(x=alt.value(0), y=y, text="label:N"),
        ]
        return alt.layer(*layers).properties(height=34 * len(rows) + 4)

    return charts.both(draw, title)


def overlaid(bins: Sequence[charts.Row], colours: dict[str, str], level: float, axis: str, y: str, title: str) -> Markup:
    """Histograms of groups over each other, {"a", "b", "n", "name"}: from, to, height; `level` is a dashed line."""
    names = list(colours)

    def draw(narrow: bool) -> charts.Drawing:
        drawn = alt.Chart(alt.Data(values=list(bins))).mark_bar(binSpacing=0, opacity=0.55)
        drawn = drawn.encode(
            x=alt.X("a:Q", title=axis, scale=alt.Scale(nice=False, zero=False)),
            x2="b:Q",
            y=alt.Y("n:Q", title=y, stack=None),
            y2=alt.datum(0),
            color=alt.Color("name:N", scale=alt.Scale(domain=names, range=list(colours.values())), legend=None, sort=names),
        )
        return alt.layer(drawn, charts.level_line("x", level)).properties(height=190 if narrow else 230)

    return charts.legend(colours) + charts.both(draw, title)
