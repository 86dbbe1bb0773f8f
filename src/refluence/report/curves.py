"""What happened step by step: matching loss, effective sample size, loss per class, training of the evaluation net."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from markupsafe import Markup

from refluence.files import Json
from refluence.report import charts
from refluence.report.gallery import class_name
from refluence.report.reading import Unit
from refluence.report.words import finite, mean

POINTS = 100
Series = dict[str, list[tuple[float, float]]]


def per_arm(units: list[Unit], key: str, axis: str, paint: dict[str, str], title: str, log: bool = False) -> Markup | None:
    """One line per arm, the mean of its seeds, and of its classes where `key` has a number each; None without any."""
    series: Series = {}
    for arm in dict.fromkeys(unit.arm for unit in units):
        points = over_steps([unit for unit in units if unit.arm == arm], key, log)
        if points:
            series[arm] = points
    return charts.lines(series, paint, "image step", axis, title, log) if series else None


def over_steps(units: list[Unit], key: str, positive: bool = False) -> list[tuple[float, float]]:
    """(step, value) of what these runs recorded as `key`, the mean of classes and runs; `positive`: only those above zero."""
    points = [p for unit in units for p in _points(unit.metrics, lambda entry: _level(entry.get(key)))]
    points = [(x, y) for x, y in points if y > 0 or not positive]
    return smooth(points) if points else []


def per_class(unit: Unit, key: str, axis: str, title: str, log: bool = False) -> Markup | None:
    """A number of each class over the image steps; of many classes, those that end highest."""
    count = max((len(entry.get(key) or []) for entry in unit.metrics), default=0)
    series: Series = {}
    for label in range(count):
        points = _points(unit.metrics, partial(_of_class, key, label))
        points = [(x, y) for x, y in points if y > 0 or not log]
        if points:
            series[class_name(unit.classes, label)] = smooth(points, 30)
    if not series:
        return None
    worst = sorted(series, key=lambda name: -series[name][-1][1])[: len(charts.PALETTE)]
    shown = {name: series[name] for name in series if name in worst}
    paint = dict(zip(shown, charts.PALETTE, strict=False))
    return charts.lines(shown, paint, "image step", axis, title, log)


def evaluation_nets(unit: Unit) -> Markup | None:
    """Training loss of the evaluation networks per epoch, one line per protocol."""
    series: Series = {}
    for number, evaluation in enumerate(unit.evaluations, start=1):
        curve = [
            e if isinstance(e, dict) else dict(zip(("epoch", "loss"), e, strict=True)) for e in evaluation.get("curve") or []
        ]
        points = _points(curve, lambda entry: entry.get("loss"), "epoch")
        if points:
            name = str(evaluation.get("protocol") or "evaluation")
            series[name if name not in series else f"{name} ({number})"] = smooth(points)
    paint = dict(zip(series, charts.PALETTE[2:] * len(series), strict=False))
    title = "Training loss of the evaluation network per epoch"
    return charts.lines(series, paint, "epoch", "training loss", title) if series else None


def _level(value: object) -> float | None:
    return mean([finite(v) for v in value]) if isinstance(value, list) else finite(value)


def _of_class(key: str, label: int, entry: Json) -> object:
    return dict(enumerate(entry.get(key) or [])).get(label)


def smooth(points: list[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most `most` points: the means over equal stretches of x. The mean of the seeds comes with it."""
    x, y = np.array(sorted(points)).T
    places, inverse = np.unique(x, return_inverse=True)
    if len(places) > most:
        inverse = inverse * most // len(places)
    counts = np.bincount(inverse)
    return list(zip((np.bincount(inverse, x) / counts).tolist(), (np.bincount(inverse, y) / counts).tolist(), strict=True))


def _points(entries: list[Json], value: Callable[[Json], object], place: str = "step") -> list[tuple[float, float]]:
    pairs = [(finite(entry.get(place)), finite(value(entry))) for entry in entries]
    return [(x, y) for x, y in pairs if x is not None and y is not None]
