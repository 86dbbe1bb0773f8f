"""The picture of a recipe whose arms differ by a number, as k or gamma of guidance: accuracy over it, and influence energy.

The number is the option that has the most values among the arms of a part. A line an arm without that option; arms that have no
such option, as the same denoiser without guidance, are dashed levels.
"""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt

from refluence.arm import Arm, read_arm
from refluence.files import Json
from refluence.report.charts import INK, PALETTE, Drawing
from refluence.report.words import finite

Line = Json
Spans = dict[str, tuple[float, float] | None]
"""The ends of the vertical axes, by what they show; None: as far as the panel's own numbers reach."""
COLUMNS = 4
NAMES = {"gamma": "γ", "tau": "temperature τ"}
WIDTH, HEIGHT = 250, 190


def sweep(lines: list[Line]) -> Drawing | None:
    """A panel for each part, of accuracy ± standard deviation and, where it was measured, of the influence energy below.

    Parts of one set and size have one scale.
    """
    parts = list(dict.fromkeys(line["part"] for line in lines))
    one = len({(line.get("set"), line.get("ipc")) for line in lines}) == 1
    spans = {key: _span(lines, key) if one else None for key in ("accuracy", "influence")}
    columns = [list(_panels(part, [line for line in lines if line["part"] == part], spans)) for part in parts]
    rows = [[column[row] for column in columns if len(column) > row] for row in (0, 1)]
    panels = [panel for row in rows for panel in row]
    return alt.concat(*panels, columns=min(COLUMNS, len(rows[0]))).resolve_scale(color="independent") if panels else None


def option_of(arms: list[Arm]) -> str | None:
    """The option that has the most numbers among these arms; None where none has two."""
    values: dict[str, set[float]] = {}
    for arm in arms:
        for key, text in arm.options:
            if (number := finite(text)) is not None:
                values.setdefault(key, set()).add(number)
    most = max(values, key=lambda key: len(values[key]), default=None)
    return most if most is not None and len(values[most]) > 1 else None


def _span(lines: list[Line], key: str) -> tuple[float, float] | None:
    """The lowest and the highest end of what is drawn, with some room."""
    ends = [finite(line.get("influence")) for line in lines]
    if key == "accuracy":
        ends = [line["mean"] + sign * (line["sd"] or 0.0) for line in lines for sign in (-1, 1)]
    known = [end for end in ends if end is not None]
    if not known or min(known) == max(known):
        return None
    room = 0.05 * (max(known) - min(known))
    return min(known) - room, max(known) + room


def _panels(part: str, lines: list[Line], spans: Spans) -> Iterator[Drawing]:
    arms = {line["arm"]: read_arm(line["arm"]) for line in lines}
    option = option_of(list(arms.values()))
    if option is None:
        return
    values = [_value(line, arms[line["arm"]], option) for line in lines]
    names = list(dict.fromkeys(value["name"] for value in values))
    yield _drawn(f"{part}: accuracy", values, names, "accuracy", "test accuracy, %", option, spans)
    if any(value["influence"] is not None for value in values if value["x"] is not None):
        yield _drawn(f"{part}: influence", values, names, "influence", "influence energy (lower is better)", option, spans)


def _value(line: Line, arm: Arm, option: str) -> Line:
    mean, sd = line["mean"], line["sd"] or 0.0
    return {
        "name": arm.without({option}).name,
        "x": finite(arm.option(option)),
        "accuracy": mean,
        "low": mean - sd,
        "high": mean + sd,
        "influence": finite(line.get("influence")),
    }


def _drawn(title: str, values: list[Line], names: list[str], key: str, axis: str, option: str, spans: Spans) -> Drawing:
    known = [value for value in values if value[key] is not None]
    points = sorted({value["x"] for value in known if value["x"] is not None})
    x = alt.X("x:Q", title=NAMES.get(option, option), scale=alt.Scale(type="sqrt", zero=False), axis=alt.Axis(values=points))
    span = spans[key]
    scale = alt.Scale(zero=False) if span is None else alt.Scale(domain=list(span), nice=False, zero=False)
    y = alt.Y(f"{key}:Q", title=axis, scale=scale)
    ink = alt.Color(
        "name:N",
        scale=alt.Scale(domain=names, range=[PALETTE[(1 + i) % len(PALETTE)] for i in range(len(names))]),
        legend=alt.Legend(title=None, orient="bottom", columns=1, labelLimit=WIDTH, labelColor=INK),
    )
    swept = alt.Chart(alt.Data(values=[value for value in known if value["x"] is not None])).encode(x=x, color=ink)
    levels = alt.Chart(alt.Data(values=[value for value in known if value["x"] is None]))
    layers = [
        levels.mark_rule(strokeDash=[5, 4], strokeWidth=1.5).encode(y=y, color=ink),
        swept.mark_line(strokeWidth=2).encode(y=y),
        swept.mark_circle(size=60, opacity=1).encode(y=y),
    ]
    if key == "accuracy":
        layers.insert(1, swept.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q", title=axis, scale=scale), y2="high:Q"))
    heading = alt.TitleParams(title, fontSize=12, fontWeight="normal", color=INK)
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=heading)
