"""Arms as points: one number against another, every seed small, the mean large."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
from markupsafe import Markup

from refluence.report import charts


def scatter(
    seeds: Sequence[charts.Row], means: Sequence[charts.Row], paint: dict[str, str], x: str, y: str, title: str
) -> Markup:
    """Points {"name", "x", "y"} of seeds and of arms, with the colours of the arms; `x` and `y` name the axes."""
    names = [row["name"] for row in means]
    scale = alt.Scale(domain=names, range=[paint[name] for name in names])

    def draw(narrow: bool) -> charts.Drawing:
        across = alt.X("x:Q", title=x, scale=alt.Scale(zero=False))
        up = alt.Y("y:Q", title=y, scale=alt.Scale(zero=False))
        colour = alt.Color("name:N", scale=scale, legend=None)
        small = alt.Chart(alt.Data(values=list(seeds))).mark_circle(size=26, opacity=0.5)
        large = alt.Chart(alt.Data(values=list(means))).mark_point(size=110, filled=True, opacity=1, shape="diamond")
        layers = [chart.encode(x=across, y=up, color=colour) for chart in (small, large)]
        return alt.layer(*layers).properties(height=230 if narrow else 260)

    return charts.legend({name: paint[name] for name in names}) + charts.both(draw, title)
