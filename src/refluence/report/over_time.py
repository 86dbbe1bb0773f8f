"""What the influence did image step by image step: its spread per class, its two terms, weight per class.

The numbers are those of `condense.events.StepEvent`, from metrics.jsonl. Every chart of spreads has a logarithmic axis:
scores of different networks and methods differ in scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from refluence.arm import read_arm
from refluence.report import charts, curves
from refluence.report.boxed import boxed
from refluence.report.gallery import class_name
from refluence.report.reading import Unit
from refluence.report.words import compact, finite, fixed, signed

DECIDES = 3.0  # ours: without correlation the wider term then has nine tenths of the variance
AGREE = ((0.7, "largely"), (0.2, "partly"))
EXPLICIT, IMPLICIT, AGREEMENT = "explicit_by_class", "implicit_by_class", "agreement_by_class"
CONTROLS = ("shuffled", "random")  # their weights are not those of the scores

SPREAD = "Standard deviation of the influence scores inside a class's real batch, {what}. Wide: some instances stand out. "
RUN = (
    "It says neither which ones, nor how well the class is matched. Each step has its own network, so steps differ in scale; "
    "weights use standardised scores (unless standardise=none). Logarithmic axis."
)
COMPARISON = (
    "Scores of different methods and terms differ in scale: compare how a curve goes, not its height. Arms whose weights "
    "ignore the influence they measured (shuffled, random) are shown too. Logarithmic axis."
)
TERMS = (
    "Explicit: what more weight on an instance does to the discrepancy while the networks stay as they are. Implicit: what it "
    "does through the networks, which train on the real set. The curves are the spread inside a class's batch, mean over "
    "classes; the sentence has medians over classes and image steps. The wider term orders the instances; that does not make "
    "it the better one. Logarithmic axis."
)
WEIGHTS = (
    "The mean weight of a class's real batch, over the image steps. {reading} Right of the line at 1 the class weighs more "
    "than without weights. Inside a cosine distance only ratios within a class count, so that there this mean changes nothing."
)


@dataclass(frozen=True)
class Figure:
    """A chart with its heading, what it shows in this run (may be empty), and how to read it."""

    heading: str
    finding: str
    words: str
    chart: Markup


def figures(units: list[Unit], paint: dict[str, str], compare: bool) -> list[Figure]:
    """What these runs recorded of the influence; an empty list where they measured none."""
    found = [*_spread(units, paint, compare)]
    for arm in dict.fromkeys(unit.arm for unit in units):
        mine = [unit for unit in units if unit.arm == arm]
        name = f": {arm}" if compare else ""
        found += [*_terms(arm, mine, name), *_weights(mine, name)]
    return found


def _spread(units: list[Unit], paint: dict[str, str], compare: bool) -> Iterator[Figure]:
    axis, title = "standard deviation of the scores", "Spread of the influence per image step, one line per "
    if compare:
        what, words = "mean over classes and seeds", COMPARISON
        chart = curves.per_arm(units, "spread_by_class", axis, paint, title + "arm", log=True)
    else:
        what, words = "at most ten classes, those that end highest", RUN
        chart = curves.per_class(units[0], "spread_by_class", axis, title + "class", log=True)
    if chart:
        yield Figure("Spread of the influence", "", SPREAD.format(what=what) + words, chart)


def _terms(arm: str, units: list[Unit], name: str) -> Iterator[Figure]:
    series = {"explicit": curves.over_steps(units, EXPLICIT, True), "implicit": curves.over_steps(units, IMPLICIT, True)}
    sentence = decided(arm, units)
    if sentence and all(series.values()) and read_arm(arm).kind not in CONTROLS:
        paint = {"explicit": charts.PALETTE[1], "implicit": charts.PALETTE[4]}
        title = f"Spread of the explicit and of the implicit term per image step{name}"
        chart = charts.lines(series, paint, "image step", "standard deviation of the scores", title, log=True)
        yield Figure(f"Explicit and implicit term{name}", sentence, TERMS, chart)


def decided(arm: str, units: list[Unit]) -> str | None:
    """Which term makes the weights, from medians over classes and steps of sd(G)/sd(E) and of their correlation."""
    ratios, correlations = [], []
    for entry in (entry for unit in units for entry in unit.metrics):
        for values in zip(*(entry.get(key) or [] for key in (EXPLICIT, IMPLICIT, AGREEMENT)), strict=False):
            explicit, implicit, correlation = map(finite, values)
            if explicit and implicit and correlation is not None:
                ratios.append(implicit / explicit)
                correlations.append(correlation)
    if not ratios:
        return None
    ratio, correlation = float(np.exp(np.median(np.log(ratios)))), float(np.median(correlations))
    wide, narrow = ("implicit", "explicit") if ratio >= 1 else ("explicit", "implicit")
    if "terms=implicit" in arm:
        who, whose = "The implicit term alone makes the weights (terms=implicit)", f"the {wide} scores"
    elif max(ratio, 1 / ratio) >= DECIDES:
        who, whose = f"The {wide} term decides the weights", "its scores"
    else:
        who, whose = "Both terms decide the weights", f"the {wide} scores"
    times = compact(max(ratio, 1 / ratio))
    size = "both spread alike" if times == "1" else f"{whose} spread {times} times as far as the {narrow} ones"
    much = next((word for least, word in AGREE if abs(correlation) >= least), "hardly")
    verb = "oppose each other" if much != "hardly" and correlation < 0 else "agree"
    return f"{who}: {size}, and the two {much} {verb} (correlation {signed(correlation, 2)})."


def _weights(units: list[Unit], name: str) -> Iterator[Figure]:
    groups: dict[str, list[float]] = {}
    for unit in units:
        for entry in unit.metrics:
            for label, value in enumerate(entry.get("weight_by_class") or []):
                if (weight := finite(value)) is not None:
                    groups.setdefault(class_name(unit.classes, label), []).append(weight)
    means = {name: float(np.mean(values)) for name, values in groups.items()}
    drawn = boxed({k: np.array(v) for k, v in groups.items()}, 1.0, "mean weight", f"Mean weight of each class{name}")
    if drawn and any(abs(value - 1) > 0.005 for values in groups.values() for value in values):
        most, least = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
        finding = f"Heaviest class: {most}, mean weight {fixed(means[most], 2)}. Lightest: {least}, {fixed(means[least], 2)}."
        words = f"{WEIGHTS.format(reading=drawn.reading)} {drawn.left_out}".strip()
        yield Figure(f"Weight per class{name}", finding, words, drawn.chart)
