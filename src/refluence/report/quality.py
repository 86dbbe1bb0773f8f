"""Sets beside real images: Fréchet distance, coverage, Wasserstein distance, redundancy and influence, from `quality.json`.

What was measured is described in evaluate/quality.py. Where there is no `quality.json` the numbers of the sampling's own card
stand in: how alike its images are, and its influence energy where all arms have it of the same surrogate and weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from markupsafe import Markup

from refluence.files import Json
from refluence.report import marks
from refluence.report.charts import INK
from refluence.report.reading import Unit
from refluence.report.sampled import influence_of, one_scale
from refluence.report.scatter import scatter
from refluence.report.verdict import Line
from refluence.report.words import compact, counted, finite, fixed, mean, signed

COLUMNS = {
    "Influence energy\u00a0↓": "influence",
    "Fréchet distance\u00a0↓": "frechet",
    "Coverage, %\u00a0↑": "coverage",
    "Wasserstein\u00a0↓": "wasserstein",
    "Redundancy, %\u00a0↓": "redundancy",
    "Nearest cosine\u00a0↓": "nearest",
}
"""Heads of the table's columns, and what quality.json or the card calls them."""


@dataclass(frozen=True)
class Cell:
    """A number of an arm: mean and deviation over seeds, and below it the paired difference to another arm."""

    head: str
    value: str
    difference: str = ""


@dataclass(frozen=True)
class QualityLine:
    """A row of the table; `against`: what the differences are to."""

    line: Line
    against: str
    cells: list[Cell]


@dataclass(frozen=True)
class Drawn:
    """A small drawing of an arm with words."""

    arm: str
    words: str
    chart: Markup


def by_arm(units: list[Unit], key: str) -> dict[str, dict[str, float]]:
    """A number by arm and seed."""
    found: dict[str, dict[str, float]] = {}
    whole = any(unit.quality and finite(unit.quality.get(key)) is not None for unit in units)
    stands_in = not whole and (key != "influence" or one_scale(units))  # two surrogates would give two scales
    for unit in units:
        value = finite((unit.quality or {}).get(key))
        if value is None and stands_in:
            value = influence_of(unit) if key == "influence" else finite(unit.card.get(key))
        if value is not None:
            found.setdefault(unit.arm, {})[unit.seed] = value
    return found


def table(units: list[Unit], against: dict[str, str], paint: dict[str, str]) -> list[QualityLine]:
    """A row for each arm that has a number; `against`: the arm that each is compared with."""
    columns = COLUMNS if all(unit.quality is None for unit in units) else {h: k for h, k in COLUMNS.items() if k != "nearest"}
    numbers = {head: found for head, key in columns.items() if (found := by_arm(units, key))}
    digits = {head: decimals([value for own in found.values() for value in own.values()]) for head, found in numbers.items()}
    arms = [arm for arm in dict.fromkeys(unit.arm for unit in units) if any(arm in found for found in numbers.values())]
    lines = []
    for arm in arms:
        other = against.get(arm, "")
        cells = [_cell(head, found.get(arm, {}), found.get(other, {}), digits[head]) for head, found in numbers.items()]
        said = other if any(cell.difference for cell in cells) else ""
        lines.append(QualityLine(Line(arm, paint[arm], {}), said, cells))
    return lines


def decimals(values: Sequence[float]) -> int:
    """How many decimals show three digits of the largest number."""
    largest = max(map(abs, values))
    return min(6, max(0, 2 - math.floor(math.log10(largest)))) if largest else 1


def _cell(head: str, own: dict[str, float], other: dict[str, float], digits: int) -> Cell:
    values = list(own.values())
    spread = f" ± {fixed(stdev(values), digits)}" if len(values) > 1 else ""
    pairs = [own[seed] - other[seed] for seed in own if seed in other]
    return Cell(head, fixed(mean(list(values)), digits) + spread, difference(pairs, digits))


def difference(pairs: Sequence[float], digits: int) -> str:
    """`−5.2 [−7.1, −3.3]`: the mean of paired differences and its 95 % t-interval, which needs two that are not alike."""
    from scipy import stats

    if not pairs:
        return ""
    words = signed(fmean(pairs), digits)
    spread = stdev(pairs) if len(pairs) > 1 else 0.0
    if not spread:
        return words
    half = float(stats.t.ppf(0.975, len(pairs) - 1)) * spread / math.sqrt(len(pairs))
    return f"{words} [{', '.join(fixed(fmean(pairs) + end, digits) for end in (-half, half))}]"


def beside_accuracy(units: list[Unit], results: Json, paint: dict[str, str]) -> Markup | None:
    """Influence energy against accuracy, a point a seed and a diamond an arm; None of fewer than two arms (IGD, Fig. 1)."""
    rows = results.get("rows") or []
    protocol = next((row.get("protocol") for row in rows), None)
    energies, seeds, means = by_arm(units, "influence"), [], []
    for arm, own in energies.items():
        accuracy = {
            str(r.get("seed")): finite(r.get("accuracy")) for r in rows if (r.get("arm"), r.get("protocol")) == (arm, protocol)
        }
        points = [(energy, y) for seed, energy in own.items() if (y := accuracy.get(seed)) is not None]
        seeds += [{"name": arm, "x": x, "y": y} for x, y in points]
        if points:
            means.append({"name": arm, "x": fmean(x for x, _ in points), "y": fmean(y for _, y in points)})
    if len(means) < 2:
        return None
    title = f"Influence energy and accuracy of the arms, protocol {protocol or 'unnamed'}: seeds and their means"
    return scatter(seeds, means, paint, "influence energy, lower: trains more as its class does", "accuracy, %", title)


def clouds(units: list[Unit], paint: dict[str, str]) -> list[Drawn]:
    """The images of the first seed of each arm among real ones, as points of the plane (IGD, Fig. 3)."""
    found = []
    for unit in _firsts(units):
        small, real = (_points((unit.quality or {}).get(name)) for name in ("points", "real_points"))
        if small and real:
            distance = finite((unit.quality or {}).get("wasserstein"))
            words = f"{counted(len(small), 'image')} among {len(real)} real ones" + (
                f", Wasserstein distance {compact(distance)}" if distance is not None else ""
            )
            ink = INK if paint[unit.arm] == marks.GREY else paint[unit.arm]
            groups = [(real, marks.GREY, 2.2), (small, ink, 5.0)]
            found.append(Drawn(unit.arm, words, marks.cloud(groups, f"{unit.arm}: {words}")))
    return found


def heat_maps(units: list[Unit]) -> list[Drawn]:
    """For the first seed of each arm: what a network that learned from one part of the set says of another."""
    found = [(unit.arm, matrix) for unit in _firsts(units) if (matrix := _matrix(unit))]
    beside = [value for _, matrix in found for value in _off_diagonal(matrix)]
    span = (min(beside), max(beside)) if beside else (0.0, 100.0)
    drawn = []
    for arm, matrix in found:
        words = f"Mean {fixed(fmean(_off_diagonal(matrix)))} % over {counted(len(matrix), 'part')}"
        drawn.append(Drawn(arm, words, marks.heat(matrix, span, f"{arm}: {words}")))
    return drawn


def _matrix(unit: Unit) -> list[list[float]]:
    """The square matrix of redundancy, [] where there is none or it is not of numbers."""
    stored = (unit.quality or {}).get("matrix") or []
    rows = [[number for value in row if (number := finite(value)) is not None] for row in stored]
    return rows if len(rows) > 1 and all(len(row) == len(rows) for row in rows) else []


def _off_diagonal(matrix: list[list[float]]) -> list[float]:
    return [value for i, row in enumerate(matrix) for j, value in enumerate(row) if i != j]


def _firsts(units: list[Unit]) -> list[Unit]:
    return [unit for unit in {unit.arm: unit for unit in reversed(units)}.values()][::-1]


def _points(stored: object) -> list[marks.Point]:
    """The points that quality.json has, those that are numbers."""
    at = stored.get("at") if isinstance(stored, dict) else None
    pairs = [tuple(map(finite, pair)) for pair in at or [] if isinstance(pair, list) and len(pair) == 2]
    return [(x, y) for x, y in pairs if x is not None and y is not None]
