"""The figure of a recipe as PNG and SVG: drawn only from its results, the first protocol of each part.

Five pictures: accuracies of the arms by part; gains over the base method by part; accuracy by temperature; by another number
of the arms (recipe_sweep.py); images in the order of their influence. ± is a 95 % interval in the second, else the standard
deviation over seeds.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import altair as alt
import numpy as np
from PIL import Image, ImageDraw

from refluence.arm import UNIFORM, read_arm
from refluence.files import Json
from refluence.report import drawing
from refluence.report.charts import GRID, INK, PALETTE, QUIET, Drawing
from refluence.report.gallery import class_name
from refluence.report.pictures import visible
from refluence.report.reading import read_unit
from refluence.report.recipe_sweep import sweep

BARS = {
    "arms": "standard deviation over seeds",
    "tau": "standard deviation over seeds; dashed: no weights",
    "gains": "95 % interval",
    "sweep": "standard deviation over seeds; dashed: arms without that number",
}
CROSS = ", crosses: published"
COLUMNS = 4  # panels side by side
HEADER = alt.Header(labelColor=INK, labelFontSize=12)  # of a panel
TILE, GAP, NAMES = 64, 4, 80  # of the gallery, in pixels: an image, between two, the room for names
Line = Json


def draw(results: Json, folder: Path) -> dict[str, bytes]:
    """`{"png": …, "svg": …}` (a gallery has no svg), or nothing where the recipe has no picture, there is nothing to draw or
    it cannot be drawn here (then with a warning)."""
    if results["picture"] == "gallery":
        return gallery(results, folder)
    first: dict[str, str] = {}
    lines = [line for line in results["lines"] if first.setdefault(line["part"], line["protocol"]) == line["protocol"]]
    names = part_names(results["lines"])
    lines = [{**line, "part": names[line["part"]]} for line in lines if line["mean"] is not None]
    kinds = {"arms": arms, "gains": gains, "tau": temperatures, "sweep": sweep}
    chart = kinds[results["picture"]](lines) if results["picture"] in kinds and lines else None
    if chart is None:
        return {}
    where = ", ".join(dict.fromkeys(f"{line['data']} {line['protocol']}" for line in lines))
    crosses = CROSS if _crossed(results["picture"], lines) else ""
    title = alt.TitleParams(
        f"{results['recipe']}: {results['summary']}", anchor="start",
        subtitle=[f"size {results['size']}; {where}", f"bars: {BARS[results['picture']]}{crosses}"],
        color=INK, subtitleColor=QUIET, fontSize=13, fontWeight="normal", offset=12,
    )  # fmt: skip
    chart = chart.properties(title=title).configure(background="white", padding=10).configure_view(stroke=None)
    chart = chart.configure_axis(labelColor=INK, titleColor=INK, gridColor=GRID, titleFontWeight="normal").to_dict()
    forms = ("png", "svg")
    found = drawing.draw([(chart, form) for form in forms], folder / "figure")
    return {form: picture for form, picture in zip(forms, found, strict=True) if picture is not None}


def part_names(lines: list[Line]) -> dict[str, str]:
    """What the parts are called: with the network, where there are several."""
    several = len({line["model"] for line in lines}) > 1
    return {line["part"]: f"{line['part']} ({line['model']})" if several else line["part"] for line in lines}


def _crossed(picture: str, lines: list[Line]) -> bool:
    return picture == "arms" and any(line["is_set"] and isinstance(line["published"], dict) for line in lines)


def arms(lines: list[Line]) -> Drawing:
    """Mean ± sd of each arm, a panel for each part; the published number as a cross, if the data are those of the paper."""
    names = list(dict.fromkeys(line["arm"] for line in lines))
    values = [
        {
            "part": line["part"],
            "arm": line["arm"],
            "mean": line["mean"],
            "low": line["mean"] - (line["sd"] or 0.0),
            "high": line["mean"] + (line["sd"] or 0.0),
            "published": line["published"]["mean"] if line["is_set"] and isinstance(line["published"], dict) else None,
        }
        for line in lines
    ]
    return _panels(values, names, "test accuracy, %", zero=False)


def gains(lines: list[Line]) -> Drawing | None:
    """Paired difference to the base method with its interval, a panel for each part."""
    values = []
    for line in lines:
        base = next((c for c in line["compared"] if _base(line["arm"], c) and c["difference"] is not None), None)
        if base is not None:
            low, high = (base["difference"] if base[k] is None else base[k] for k in ("low", "high"))
            values.append({"part": line["part"], "arm": line["arm"], "mean": base["difference"], "low": low, "high": high})
    names = list(dict.fromkeys(value["arm"] for value in values))
    return _panels(values, names, "points over the method without weights", zero=True) if values else None


def _base(arm: str, compared: Line) -> bool:
    """Whether an arm is compared with the same method without its weights or its settings (a selection as it is has no such
    base), or a student with one whose instances all weigh the same."""
    if "even" in compared:
        return bool(compared["even"])
    this, other = read_arm(arm), read_arm(compared["against"])
    return (other.name != "random" or this.kind != UNIFORM) and other.kind == UNIFORM and other.method == this.method


def _panels(values: list[Line], names: list[str], axis: str, zero: bool) -> Drawing:
    ends = [v[k] for v in values for k in ("low", "high", "published") if v.get(k) is not None] + [0.0] * zero
    room = 0.05 * (max(ends) - min(ends)) or 1.0
    scale = alt.Scale(domain=[min(ends) - room, max(ends) + room], nice=False, zero=False)
    x = alt.X("arm:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=220))
    colour = alt.Color("arm:N", legend=None, scale=alt.Scale(domain=names, range=_colours(names)))
    chart = alt.Chart()
    layers = [
        chart.mark_rule(strokeWidth=2).encode(x=x, y=alt.Y("low:Q", title=axis, scale=scale), y2="high:Q", color=colour),
        chart.mark_circle(size=70, opacity=1).encode(x=x, y=alt.Y("mean:Q", title=axis, scale=scale), color=colour),
    ]
    known = alt.datum.published > 0
    layers.append(
        chart.mark_point(shape="cross", size=60, color=QUIET, filled=True).transform_filter(known).encode(x=x, y="published:Q")
    )
    if zero:
        layers.append(chart.mark_rule(color=INK, strokeWidth=1).encode(y=alt.datum(0)))
    order = list(dict.fromkeys(value["part"] for value in values))
    most = max(sum(value["part"] == part for value in values) for part in order)
    layered = alt.layer(*layers, data=alt.Data(values=values)).properties(width=max(90, 28 * most), height=230)
    panel = alt.Facet("part:N", sort=order, title=None, header=HEADER)
    return layered.facet(facet=panel, columns=COLUMNS).resolve_scale(x="independent").resolve_axis(y="independent")


def temperatures(lines: list[Line]) -> alt.FacetChart | None:
    """Accuracy by temperature, a panel for each part; the arm without weights as a dashed line. Controls are not drawn."""
    bases = {line["arm"].partition("+")[0] for line in lines if "+influence" in line["arm"]}
    drawn = [(line, tau_of(line["arm"])) for line in lines if line["arm"] in bases or "+influence" in line["arm"]]
    values = [
        {
            "part": line["part"],
            "tau": tau,
            "mean": line["mean"],
            "low": line["mean"] - (line["sd"] or 0.0),
            "high": line["mean"] + (line["sd"] or 0.0),
        }
        for line, tau in drawn
        if line["arm"] in bases or (tau is not None and math.isfinite(tau))
    ]
    taus = sorted({value["tau"] for value in values} - {None})
    if not taus:
        return None
    x = alt.X("tau:Q", title="temperature τ", scale=alt.Scale(type="log"), axis=alt.Axis(values=taus))
    y = alt.Y("mean:Q", title="test accuracy, %", scale=alt.Scale(zero=False))
    chart = alt.Chart()
    weighted = chart.transform_filter("datum.tau !== null").encode(x=x, y=y, color=alt.value(PALETTE[1]))
    layers = [
        chart.transform_filter("datum.tau === null").mark_rule(strokeDash=[5, 4], strokeWidth=1.5, color=QUIET).encode(y=y),
        weighted.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q"),
        weighted.mark_line(strokeWidth=2),
        weighted.mark_circle(size=60, opacity=1),
    ]
    layered = alt.layer(*layers, data=alt.Data(values=values)).properties(width=260, height=230)
    panel = alt.Facet("part:N", sort=list(dict.fromkeys(v["part"] for v in values)), title=None, header=HEADER)
    return layered.facet(facet=panel, columns=COLUMNS).resolve_scale(y="independent").resolve_axis(x="independent")


def tau_of(arm: str) -> float | None:
    """The temperature that an arm names."""
    options = dict(option.split("=", 1) for option in arm.partition(":")[2].split(",") if option)
    try:
        return float(options["tau"]) if "tau" in options else None
    except ValueError:  # auto
        return None


def _colours(names: list[str]) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(len(names))]


def gallery(results: Json, folder: Path) -> dict[str, bytes]:
    """A row of images for each class, those of all seeds (`recipes/pooled.py`), the lowest influence on the left."""
    found: dict[int, list[tuple[float, int, np.ndarray]]] = {}
    names: list[str] = []
    for part in results["parts"]:
        for place in (folder / part["part"]).glob("pooled"):
            unit = read_unit(place)
            small = unit.distilled()
            if small is None or small.influence is None:
                continue
            names = names or unit.classes
            shown = visible(small.images(list(range(len(small.labels)))), unit.card.get("mean"), unit.card.get("std"))
            for label, influence, picture in zip(small.labels.tolist(), small.influence.tolist(), shown, strict=True):
                found.setdefault(label, []).append((influence, len(found.get(label, [])), picture))
    if not found:
        return {}
    rows = [[picture for _, _, picture in sorted(found[label], key=lambda entry: entry[:2])] for label in sorted(found)]
    step = TILE + GAP
    sheet = Image.new("RGB", (NAMES + step * max(map(len, rows)), GAP + step * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for y, (label, row) in enumerate(zip(sorted(found), rows, strict=True)):
        pen.text((GAP, GAP + step * y + TILE // 2), class_name(names, label), fill=INK, anchor="lm")
        for x, picture in enumerate(row):
            pixels = np.repeat(picture[:1], 3, axis=0) if picture.shape[0] != 3 else picture
            tile = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            sheet.paste(tile.resize((TILE, TILE), Image.Resampling.NEAREST), (NAMES + step * x, GAP + step * y))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return {"png": buffer.getvalue()}
