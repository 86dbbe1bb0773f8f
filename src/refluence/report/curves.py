"""What happened step by step: matching loss, effective sample size, loss per class, training of the evaluation net."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup

from refluence.report import charts
from refluence.report.gallery import class_name
from refluence.report.reading import Unit
from refluence.report.words import finite

POINTS = 100
Series = dict[str, list[tuple[float, float]]]


def per_arm(units: list[Unit], key: str, axis: str, paint: dict[str, str], title: str) -> Markup | None:
    """One line per arm, the mean of its seeds; None if nobody recorded `key`."""
    series: Series = {}
    for arm in dict.fromkeys(unit.arm for unit in units):
        points = [p for u in units if u.arm == arm for p in _points(u.metrics, lambda entry: entry.get(key))]
        if points:
            series[arm] = smooth(points)
    return charts.lines(series, paint, "image step", axis, title) if series else None


def per_class(unit: Unit) -> Markup | None:
    """The matching loss of each class; of many classes, those that end highest."""
    count = max((len(entry.get("loss_by_class") or []) for entry in unit.metrics), default=0)
    series: Series = {}
    for label in range(count):
        points = _points(unit.metrics, lambda entry, label=label: dict(enumerate(entry.get("loss_by_class") or [])).get(label))
        if points:
            series[class_name(unit.classes, label)] = smooth(points, 30)
    if not series:
        return None
    worst = sorted(series, key=lambda name: -series[name][-1][1])[: len(charts.PALETTE)]
    shown = {name: series[name] for name in series if name in worst}
    paint = dict(zip(shown, charts.PALETTE, strict=False))
    return charts.lines(shown, paint, "image step", "matching loss", "Matching loss per class and image step")


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


def smooth(points: list[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most `most` points: the means over equal stretches of x. The mean of the seeds comes with it."""
    x, y = np.array(sorted(points)).T
    places, inverse = np.unique(x, return_inverse=True)
    if len(places) > most:
        inverse = inverse * most // len(places)
    counts = np.bincount(inverse)
    return list(zip((np.bincount(inverse, x) / counts).tolist(), (np.bincount(inverse, y) / counts).tolist(), strict=True))


def _points(entries: list[dict[str, Any]], value: Callable[..., Any], place: str = "step") -> list[tuple[float, float]]:
    pairs = [(finite(entry.get(place)), finite(value(entry))) for entry in entries]
    return [(x, y) for x, y in pairs if x is not None and y is not None]
