"""The charts, as static SVG: declared in Altair, drawn by vl-convert all at once (`drawn`), coloured from a few fixed inks.

Every chart comes twice, wide and narrow, and the style sheet shows the one that fits: text that is scaled down to a
phone cannot be read. The inks are exact hexadecimal values so that the style sheet can replace them in dark mode.
"""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import altair as alt
from markupsafe import Markup, escape

from refluence.files import Json
from refluence.report.drawing import draw

INK, QUIET, GRID = "#23262d", "#6b6f78", "#e3e0d9"
RAISES, LOWERS = "#c2571a", "#2b78b0"
PALETTE = ["#7b828d", "#2f8f6b", "#2b78b0", "#c2571a", "#8a62c4", "#c04a7d", "#7d8a1f", "#1f93a3", "#a9743a", "#9c5555"]
WIDE, NARROW = 520, 326
MARK = re.compile("<!--chart ([A-Za-z0-9+/=]+)-->")  # where a chart will stand; what users write is escaped and cannot look so
ABSENT = '<p class="absent">This chart could not be drawn on the machine that wrote this page.</p>'

Row = Json
Drawing = alt.Chart | alt.LayerChart | alt.FacetChart


def dots(
    rows: Sequence[Row],
    spans: Sequence[Row],
    names: Sequence[str],
    axis: str,
    zero: bool,
    title: str,
    level: float | None = None,
) -> Markup:
    """Every seed as a dot, the mean as a stroke, the interval as a line; one line of the chart per name.

    `rows`: {"name", "value", "colour"}; `spans`: {"name", "mean", "low", "high", "colour"}, low and high may be None. `level`:
    a dashed line through all of them.
    """
    every = [r["value"] for r in rows] + [s[k] for s in spans for k in ("mean", "low", "high") if s[k] is not None]
    every += [] if level is None else [level]
    low, high = min(every + [0.0] * zero), max(every + [0.0] * zero)
    room = 0.06 * (high - low) or 1.0
    scale = alt.Scale(domain=[low - room, high + room], nice=False, zero=False)

    def draw(narrow: bool) -> Drawing:
        # the names stand above their rows: beside them, a font wider than the one measured would be cut off
        y = alt.Y("name:N", sort=list(names), axis=None)
        # accuracies end at 0 and 100, the room beside their dots does not
        inside = alt.Undefined if zero else "datum.value < 0 || datum.value > 100 ? '' : datum.label"
        x = alt.X("value:Q", title=axis, scale=scale, axis=alt.Axis(labelExpr=inside))
        colour = alt.Color("colour:N", scale=None)
        lines = alt.Data(values=[s for s in spans if s["low"] is not None])
        text = alt.Chart(alt.Data(values=[{"name": n} for n in names])).mark_text(
            align="left", dy=-12, limit=(NARROW if narrow else WIDE) - 8, color=INK, fontSize=12
        )
        layers = [_zero()] * zero + ([] if level is None else [level_line("x", level)])
        layers += [
            alt.Chart(alt.Data(values=list(rows)))
            .mark_circle(size=46, opacity=0.55, yOffset=13)
            .encode(x=x, y=y, color=colour),
            alt.Chart(lines).mark_rule(strokeWidth=2.5, yOffset=3).encode(x=alt.X("low:Q"), y=y, x2="high:Q", color=colour),
            alt.Chart(alt.Data(values=list(spans)))
            .mark_tick(thickness=3, size=13, opacity=1, orient="vertical", yOffset=3)
            .encode(x=alt.X("mean:Q"), y=y, color=colour),
            text.encode(x=alt.value(0), y=y, text="name:N"),
        ]
        return alt.layer(*layers).properties(height=52 * len(names) + 4)

    return both(draw, title)


def lines(
    series: dict[str, list[tuple[float, float]]],
    colours: dict[str, str],
    x: str,
    y: str,
    title: str,
    log: bool = False,
    level: float | None = None,
    dashed: bool = False,
) -> Markup:
    """One line per series, of (x, y) points; with `log` on a logarithmic axis, where every y is above zero.

    `level`: a dashed line at that height. `dashed`: every second line has dashes, so that one below another is seen.
    """
    values: list[Row] = [{"x": a, "y": b, "name": name} for name, points in series.items() for a, b in points]
    names = list(series)
    dashes = [[5, 3] if i >= len(PALETTE) or (dashed and i % 2) else [1, 0] for i in range(len(names))]
    single = max(len(points) for points in series.values()) == 1

    def draw(narrow: bool) -> Drawing:
        chart = alt.Chart(alt.Data(values=values))
        chart = chart.mark_circle(size=40) if single else chart.mark_line(strokeWidth=1.8, strokeJoin="round")
        scale = alt.Scale(domain=names, range=[colours[n] for n in names])
        chart = chart.encode(
            x=alt.X("x:Q", title=x, scale=alt.Scale(nice=False)),
            y=_logarithmic([v["y"] for v in values], y) if log else alt.Y("y:Q", title=y, scale=alt.Scale(zero=False)),
            color=alt.Color("name:N", scale=scale, legend=None, sort=names),
        )
        if not single and [5, 3] in dashes:
            dash = alt.Scale(domain=names, range=dashes)
            chart = chart.encode(strokeDash=alt.StrokeDash("name:N", scale=dash, legend=None))
        drawing: Drawing = chart if level is None else alt.layer(level_line("y", level), chart)
        return drawing.properties(height=210 if narrow else 230)

    broken = {name for name, dash in zip(names, dashes, strict=True) if dashed and dash != [1, 0]}
    return legend({name: colours[name] for name in names}, broken) + both(draw, title)


def boxes(rows: Sequence[Row], centre: float, axis: str, title: str) -> Markup:
    """A distribution per name, {"name", "low", "q1", "middle", "q3", "high"}: line, box and stroke; `centre` is a thin one.

    A row with "values", which has no quartiles, has a dot for each instead of line and box.
    """
    dots = [{"name": row["name"], "value": value} for row in rows for value in row["values"]]
    whole = alt.Data(values=[row for row in rows if not row["values"]])
    every = [row[key] for row in rows for key in ("low", "high")] + [centre]
    room = 0.03 * (max(every) - min(every)) or 1.0
    scale = alt.Scale(domain=[min(every) - room, max(every) + room], nice=False, zero=False)

    def draw(narrow: bool) -> Drawing:
        y = alt.Y("name:N", sort=[row["name"] for row in rows], axis=None)
        chart = alt.Chart(alt.Data(values=list(rows)))
        text = chart.mark_text(align="left", dy=-9, limit=(NARROW if narrow else WIDE) - 8, color=INK, fontSize=12)
        layers = [
            # below the names, which stand at the left where this line may be too
            chart.mark_tick(thickness=1.2, size=22, opacity=1, orient="vertical", color=INK, yOffset=7).encode(
                x=alt.XDatum(centre), y=y
            ),
            alt.Chart(whole)
            .mark_rule(strokeWidth=1.5, color=PALETTE[0], yOffset=6)
            .encode(x=alt.X("low:Q", title=axis, scale=scale), x2="high:Q", y=y),
            alt.Chart(whole)
            .mark_bar(height=11, color=PALETTE[0], opacity=0.75, yOffset=6)
            .encode(x=alt.X("q1:Q"), x2="q3:Q", y=y),
            alt.Chart(alt.Data(values=dots))
            .mark_circle(size=46, color=PALETTE[0], opacity=0.75, yOffset=6)
            .encode(x=alt.X("value:Q"), y=y),
            chart.mark_tick(thickness=2.5, size=15, opacity=1, orient="vertical", color=INK, yOffset=6).encode(
                x=alt.X("middle:Q"), y=y
            ),
            text.encode(x=alt.value(0), y=y, text="name:N"),
        ]
        return alt.layer(*layers).properties(height=38 * len(rows) + 4)

    return both(draw, title)


def histogram(bins: Sequence[tuple[float, float, int]], axis: str, title: str) -> Markup:
    """Counted bins (from, to, count); what raises the discrepancy and what lowers it have a colour each."""
    values = [{"a": a, "b": b, "n": n, "colour": RAISES if a + b > 0 else LOWERS} for a, b, n in bins]

    def draw(narrow: bool) -> Drawing:
        bars = alt.Chart(alt.Data(values=values)).mark_bar(binSpacing=1)
        bars = bars.encode(
            x=alt.X("a:Q", title=axis, scale=alt.Scale(nice=False, zero=False)),
            x2="b:Q",
            y=alt.Y("n:Q", title="instances"),
            y2=alt.datum(0),
            color=alt.Color("colour:N", scale=None),
        )
        return alt.layer(bars, _zero()).properties(height=190 if narrow else 230)

    return both(draw, title)


def legend(colours: dict[str, str], dashed: Collection[str] = ()) -> Markup:
    """Names with their colours, as text of the page: it wraps and is measured in the reader's own font."""
    items = Markup("").join(
        Markup("<li>{}{}{}</li>").format(swatch(c), name, " (dashed)" if name in dashed else "") for name, c in colours.items()
    )
    return Markup('<ul class="legend">{}</ul>').format(items)


def swatch(colour: str) -> Markup:
    """A dot of that colour; as SVG, so that dark mode replaces its ink too."""
    dot = '<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><circle cx="5" cy="5" r="5" fill="{}"/></svg>'
    return Markup(dot).format(colour)


def both(draw: Callable[[bool], Drawing], title: str) -> Markup:
    """The place in a page of one chart, wide and narrow: `drawn` puts the drawings there."""
    charts = [_styled(draw(narrow), width, 5 if narrow else 7) for width, narrow in ((WIDE, False), (NARROW, True))]
    return Markup(f"<!--chart {base64.b64encode(json.dumps([title, *charts]).encode()).decode()}-->")


def drawn(page: str, target: Path) -> str:
    """The page with every chart drawn; words in the place of one that could not be. `target` is named by the warning then."""
    marks = [json.loads(base64.b64decode(found[1])) for found in MARK.finditer(page)]
    pictures = iter(draw([(chart, "svg") for _, *charts in marks for chart in charts], target))
    shown = iter([_shown(title, next(pictures), next(pictures)) for title, *_ in marks])
    return MARK.sub(lambda _: next(shown), page)


def _shown(title: str, wide: bytes | None, narrow: bytes | None) -> str:
    """The two drawings of a chart as the page holds them."""
    if wide is None or narrow is None:
        return ABSENT
    return _svg(wide.decode(), "wide", title) + _svg(narrow.decode(), "narrow", title)


def _logarithmic(values: Sequence[float], title: str) -> alt.Y:
    """A logarithmic axis over at least a factor of two, with as few round ticks as tell its scale."""
    low, high = min(values), max(values)
    room = max(1.05, math.sqrt(2 * low / high))
    low, high = low / room, high * room
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        exponents = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
        ticks = [tick for e in exponents for d in digits if low <= (tick := float(f"{d}e{e}")) <= high]
        if len(ticks) >= 3:
            break
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return alt.Y("y:Q", title=title, scale=scale, axis=alt.Axis(values=ticks, format="~g"))


def _zero() -> alt.Chart:
    return alt.Chart(alt.Data(values=[{"v": 0.0}])).mark_rule(color=INK, strokeWidth=1.2).encode(x="v:Q")


def level_line(axis: str, value: float) -> alt.Chart:
    """A dashed line at a value of the x or y axis."""
    line = alt.Chart(alt.Data(values=[{"v": value}])).mark_rule(color=INK, strokeWidth=1.2, strokeDash=[4, 3])
    return line.encode(x="v:Q") if axis == "x" else line.encode(y="v:Q")


def _styled(chart: Drawing, width: int, ticks: int) -> Json:
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    chart = chart.properties(width=width, autosize=fit, padding=3).configure(aria=False, background="transparent")
    chart = chart.configure_view(stroke=None).configure_axis(
        labelColor=QUIET, titleColor=QUIET, gridColor=GRID, domainColor=QUIET, tickColor=GRID,
        labelFontSize=11.5, titleFontSize=11.5, titleFontWeight="normal", titlePadding=8, labelOverlap=True, tickCount=ticks,
    ).configure_axisX(grid=True).configure_axisY(domain=False, ticks=False, labelPadding=6)  # fmt: skip
    return chart.to_dict()


def _svg(drawing: str, kind: str, title: str) -> str:
    head, body = drawing.split(">", 1)
    size = re.search(r'width="[\d.]+" height="[\d.]+" viewBox="[^"]+"', head)
    if size is None:
        raise ValueError(f"vl-convert wrote an SVG whose size cannot be found: {head}")
    # ids are unique in a page, so those of the clip paths get the chart's own; the nested labels would be read aloud
    own = f"{kind}{zlib.crc32((title + body).encode()):x}"
    body = re.sub(r'(id="|url\(#)', rf"\g<1>{own}-", body)
    body = re.sub(r' (?:role|aria-[a-z]+|pointer-events|font-family)="[^"]*"', "", body)
    body = re.sub(r'<path class="(?:background|foreground)"[^>]*?d=(?:""|"M0,0h0v0h0Z")[^>]*/>', "", body)
    body = re.sub(r"(\d\.\d\d)\d+(?=[^<>]*>)", r"\1", body)  # in attributes alone: 0.001 may be the label of a tick
    label = escape(title)
    return f'<svg class="{kind}" role="img" aria-label="{label}" {size[0]}><title>{label}</title>{body}'
