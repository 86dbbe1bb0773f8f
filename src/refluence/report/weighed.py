"""Which training instances counted for a student: weights of right and of wrong ones, and the most harmful instances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from refluence.report import bars, charts, scores, student
from refluence.report.gallery import Gallery, Tile, class_name, highest
from refluence.report.reading import Scores, Unit
from refluence.report.words import DASH, common_unit, counted, finite, fixed, mean, signed

BINS = 40
ALL, RIGHT, WRONG = "all instances", "instances whose label is right", "instances that are wrong"
INKS = {RIGHT: charts.LOWERS, WRONG: charts.RAISES, ALL: charts.PALETTE[0]}
SHARES = "Each bar is a share of its own group, so that a small group can be compared with a large one. "
WORDS = (
    "The weights of the last scoring, before they are divided by their mean. Left of the dashed line at 1 an instance counts "
    "less than without weights."
)


@dataclass(frozen=True)
class Textual:
    """A text that was scored: its score, the label it had, what the source says of it, and its words."""

    score: str
    label: str
    stored: str
    words: str


@dataclass(frozen=True)
class WeighedSection:
    """What the page says of the weights of a run.

    `criterion`: the paper's, in words with a yes or no, "" where the truth is not known. `texts`: the most harmful instances,
    where these are texts; else the pictures are in `scores`.
    """

    source: str
    facts: list[tuple[str, str]]
    criterion: str
    words: str
    chart: Markup
    scores: scores.ScoreSection
    texts: list[Textual]


def section(unit: Unit, compare: bool) -> WeighedSection | None:
    """The section of a run that kept its scores and weights; None for another."""
    found = unit.scores()
    if found is None or found.weight is None or not np.isfinite(found.weight).any():
        return None
    source = f"{unit.arm}, seed {unit.seed}" if compare else ""
    shown = scores.section(found, unit.classes, source)
    if shown is None:
        return None
    shown = replace(shown, first=[_arrow(tile) for tile in shown.first], gallery=_arrows(shown.gallery))
    weight, wrong = found.weight, found.wrong
    groups = (
        {ALL: weight} if wrong is None or not 0 < wrong.sum() < len(wrong) else {RIGHT: weight[~wrong], WRONG: weight[wrong]}
    )
    title = "Histogram of the weights of the training instances"
    chart = bars.overlaid(_bins(groups), {name: INKS[name] for name in groups}, 1.0, "weight", "share of the group", title)
    words = (SHARES if len(groups) > 1 else "") + WORDS
    return WeighedSection(source, _facts(groups, weight), criterion(groups), words, chart, shown, _texts(found, unit.classes))


def criterion(groups: dict[str, np.ndarray]) -> str:
    """Whether instances that are known to be wrong weigh less than 1 on average, in words: a criterion of KD-AIF."""
    if WRONG not in groups:
        return ""
    value = float(groups[WRONG].mean())
    answer, every = "Yes" if value < 1 else "No", np.concatenate(list(groups.values()))
    question = "Do wrong instances weigh less than 1 on average, as KD-AIF (arXiv 2501.02705) expects?"
    means = f"{fixed(value, 2)}, the others {fixed(groups[RIGHT].mean(), 2)}"
    return f"{question} {answer}: {means}. The loss divides both by the mean of all, {fixed(every.mean(), 2)}."


def table(units: list[Unit]) -> list[dict[str, str]]:
    """A row for each arm whose cards speak of weights where the truth is known, means over the seeds."""
    rows = []
    for arm in dict.fromkeys(unit.arm for unit in units):
        cards = [student.part(unit.card, "weights") for unit in units if unit.arm == arm]
        clean, noisy, auc = (mean([finite(card.get(name)) for card in cards]) for name in ("clean", "noisy", "auc"))
        if noisy is None:
            continue
        rows.append(
            {
                "Arm": arm,
                "Mean weight, label right": fixed(clean, 2),
                "Mean weight, wrong": fixed(noisy, 2),
                "Wrong ones below 1": "yes" if noisy < 1 else "no",
                "AUC": fixed(auc, 2) if auc is not None else DASH,
            }
        )
    return rows


def _facts(groups: dict[str, np.ndarray], weight: np.ndarray) -> list[tuple[str, str]]:
    facts = [("Weighted", counted(len(weight), "instance"))]
    if WRONG in groups:
        wrong = len(groups[WRONG])
        flags = np.r_[np.zeros(len(groups[RIGHT]), bool), np.ones(wrong, bool)]
        area = scores.auc(-np.r_[groups[RIGHT], groups[WRONG]], flags)
        facts += [
            ("Known to be wrong", f"{wrong} ({fixed(100 * wrong / len(weight))} %)"),
            ("Mean weight, label right", fixed(groups[RIGHT].mean(), 2)),
            ("Mean weight, wrong", fixed(groups[WRONG].mean(), 2)),
            ("Wrong ones weigh less (AUC)", fixed(area, 3)),
        ]
    share = float(weight.sum() ** 2 / (len(weight) * (weight**2).sum())) if weight.any() else 0.0
    return [
        *facts,
        ("Effective sample size", f"{fixed(100 * share, 0)} % of the instances"),
        ("Weigh less than 1", f"{fixed(100 * float((weight < 1).mean()), 0)} %"),
        ("Lowest, highest weight", f"{fixed(weight.min(), 2)}, {fixed(weight.max(), 2)}"),
    ]


def _bins(groups: dict[str, np.ndarray]) -> list[charts.Row]:
    """Bins with an edge at 1, as shares of each group; what lies beyond the outermost 0.1 % is in the end bins."""
    every = np.concatenate(list(groups.values()))
    low, high = (float(v) for v in np.quantile(every, [0.001, 0.999]))
    width = max(high - low, 1e-3) / BINS
    first, last = np.floor((min(low, 1.0) - 1) / width), np.floor((max(high, 1.0) - 1) / width) + 1
    edges = 1 + np.arange(first, last + 1) * width
    rows: list[charts.Row] = []
    for name, values in groups.items():
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        pairs = zip(edges[:-1], edges[1:], counts / len(values), strict=True)
        rows += [{"a": float(a), "b": float(b), "n": float(n), "name": name} for a, b, n in pairs if n]
    return rows


def _texts(found: Scores, classes: list[str]) -> list[Textual]:
    """The most harmful texts, where the run kept some."""
    scale, _, digits = common_unit(found.spread)
    rows = []
    for place in highest(found.score) if found.texts else []:
        row, label = int(found.index[place]), int(found.label[place])
        other = found.stored is not None and found.stored[place] != label
        stored = class_name(classes, int(found.stored[place])) if found.stored is not None and other else ""
        words = found.texts.get(row, f"row {row}")
        rows.append(Textual(signed(found.score[place] / scale, digits), class_name(classes, label), stored, words))
    return rows


def _arrow(tile: Tile) -> Tile:
    """The class that the source stores behind an arrow."""
    return replace(tile, stored=tile.stored.replace("stored: ", "→ ", 1))


def _arrows(gallery: Gallery) -> Gallery:
    rows = [
        replace(row, tiles=[_arrow(tile) for tile in row.tiles], lowest=[_arrow(tile) for tile in row.lowest])
        for row in gallery.rows
    ]
    return replace(gallery, rows=rows)
