"""The plots beside the verdict table: every seed as a dot, the mean as a stroke, the interval as a line."""

from __future__ import annotations

from markupsafe import Markup

from refluence.files import Json
from refluence.report import charts
from refluence.report.words import deviation, finite, mean

Entry = Json
Plot = tuple[str, str, Markup]
DOTS = "Dots are {}, the stroke is their mean, the line one standard deviation to each side."
PAIRS = (
    "Dots are seeds, the stroke is their mean, the line the interval. Left of the zero line the arm is worse than "
    "what it is compared with."
)


def accuracies(
    arms: list[str],
    named: dict[str, list[Entry]],
    paint: dict[str, str],
    protocol: str,
    key: str = "accuracy",
    heading: str = "Accuracy",
    level: float | None = None,
) -> Plot | None:
    """(heading, explanation, chart) of the accuracy of every arm; None if nothing was evaluated.

    `key`: of the rows, where it is another accuracy, called `heading`. `level`: a dashed line.
    """
    dots: list[Entry] = []
    spans: list[Entry] = []
    for arm in arms:
        values = [v for v in (finite(r.get(key)) for r in named[arm]) if v is not None]
        dots += [{"name": arm, "value": v, "colour": paint[arm]} for v in values]
        spans += span(arm, mean(list(values)), deviation(values), paint[arm])
    if not spans:
        return None
    title = f"{heading} per arm in percent, protocol {protocol or 'unnamed'}: seeds, mean, standard deviation"
    names = [entry["name"] for entry in spans]
    return heading, DOTS.format("seeds"), charts.dots(dots, spans, names, "accuracy, %", False, title, level)


def differences(summary: list[Entry], named: dict[str, list[Entry]], paint: dict[str, str], protocol: str) -> Plot | None:
    """The same of every paired difference in the summary; None if there is none."""
    dots: list[Entry] = []
    spans: list[Entry] = []
    for row in summary:
        arm, against = str(row.get("arm")), str(row.get("against") or "")
        if not against or not has(row, "difference"):
            continue
        name = f"{arm} against {against}"
        other = {str(r.get("seed")): finite(r.get("accuracy")) for r in named.get(against, [])}
        for seed in named[arm]:
            mine, theirs = finite(seed.get("accuracy")), other.get(str(seed.get("seed")))
            if mine is not None and theirs is not None:
                dots.append({"name": name, "value": mine - theirs, "colour": paint[arm]})
        low, high = finite(row.get("low")), finite(row.get("high"))
        centre = float(row["difference"])
        spans.append({"name": name, "arm": arm, "mean": centre, "low": low, "high": high, "colour": paint[arm]})
    if not spans:
        return None
    # a method against random is tens of points away: on its axis the comparison that matters would be a dot
    leading = {str(row.get("arm")) for row in summary if row.get("primary")}
    parts = [[s for s in spans if s["arm"] in leading], [s for s in spans if s["arm"] not in leading]]
    drawn = []
    for part in filter(None, parts):
        names = [entry["name"] for entry in part]
        title = f"Paired differences in percent points, protocol {protocol or 'unnamed'}: {', '.join(names)}"
        own = [dot for dot in dots if dot["name"] in names]
        drawn.append(charts.dots(own, part, names, "difference, percent points", True, title))
    return "Difference", PAIRS, Markup("").join(drawn)


def span(name: str, centre: float | None, spread: float | None, colour: str) -> list[Entry]:
    """The mean with one standard deviation to each side, if there is one; an empty list without a mean."""
    if centre is None:
        return []
    low, high = (None, None) if spread is None else (centre - spread, centre + spread)
    return [{"name": name, "mean": centre, "low": low, "high": high, "colour": colour}]


def has(row: Entry, key: str) -> bool:
    """Whether the row really holds a number under that key."""
    return finite(row.get(key)) is not None
