"""Which training instances counted for a student: weights of right and of wrong ones, and the most harmful instances."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from refluence.arm import read_arm
from refluence.report import bars, charts, scores, student
from refluence.report.gallery import Gallery, Tile, class_name, highest
from refluence.report.reading import Scores, Unit
from refluence.report.words import DASH, common_unit, counted, finite, fixed, mean, signed

BINS = 40
ALL, RIGHT, WRONG = "all instances", "instances whose label is right", "instances whose label is wrong"
INKS = {RIGHT: charts.LOWERS, WRONG: charts.RAISES, ALL: charts.PALETTE[0]}
SHARES = "Each bar is a share of its own group, so that a small group can be compared with a large one. "
WORDS = (
    "The weights of the last scoring, before they are divided by their mean. Left of the dashed line at 1 are instances whose "
    "score speaks against them; the loss divides by the mean, so that less than the mean counts less than without weights."
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
    label = label_of([unit.arm])
    inks = {_in_words(name, label): INKS[name] for name in groups}
    bins = [{**row, "name": _in_words(str(row["name"]), label)} for row in _bins(groups)]
    title = "Histogram of the weights of the training instances"
    chart = bars.overlaid(bins, inks, 1.0, "weight", "share of the group", title)
    words = (SHARES if len(groups) > 1 else "") + WORDS
    said = criterion(groups, label)
    return WeighedSection(source, _facts(groups, weight, label), said, words, chart, shown, _texts(found, unit.classes))


def label_of(arms: Collection[str]) -> str:
    """Which labels the weights of these arms are right or wrong by: of `semi` the pseudo-labels."""
    pseudo = [read_arm(arm).method == student.SEMI for arm in arms]
    return "pseudo-label" if all(pseudo) else "label or pseudo-label" if any(pseudo) else "label"


def criterion(groups: dict[str, np.ndarray], label: str = "label") -> str:
    """Whether instances whose label is known to be wrong weigh less than the others on average, in words.

    KD-AIF asks for less than 1; but these are the link's own values, whose mean is not 1, and the loss divides by it.
    """
    if WRONG not in groups:
        return ""
    wrong, right = (float(groups[name].mean()) for name in (WRONG, RIGHT))
    every = float(np.concatenate(list(groups.values())).mean())
    return (
        f"Do instances whose {label} is wrong weigh less than the others? {'Yes' if wrong < right else 'No'}: "
        f"{fixed(wrong, 2)} on average, the others {fixed(right, 2)}. KD-AIF (arXiv 2501.02705) expects less than 1, but these "
        f"are the link's own values, whose mean over all is {fixed(every, 2)}, and the loss divides by it."
    )


def table(units: list[Unit]) -> list[dict[str, str]]:
    """A row for each arm whose cards speak of weights where the truth is known, means over the seeds."""
    rows, label = [], weighed_label(units)
    for arm in dict.fromkeys(unit.arm for unit in units):
        cards = [student.part(unit.card, "weights") for unit in units if unit.arm == arm]
        clean, noisy, auc = (mean([finite(card.get(name)) for card in cards]) for name in ("clean", "noisy", "auc"))
        if noisy is None:
            continue
        rows.append(
            {
                "Arm": arm,
                f"Mean weight, {label} right": fixed(clean, 2) if clean is not None else DASH,
                f"Mean weight, {label} wrong": fixed(noisy, 2),
                "Wrong ones weigh less": DASH if clean is None else "yes" if noisy < clean else "no",
                "AUC": fixed(auc, 2) if auc is not None else DASH,
            }
        )
    return rows


def weighed_label(units: list[Unit]) -> str:
    """`label_of` of the arms whose cards know the weights of wrong labels."""
    return label_of({unit.arm for unit in units if finite(student.part(unit.card, "weights").get("noisy")) is not None})


def _in_words(group: str, label: str) -> str:
    return group.replace("label", label)


def _facts(groups: dict[str, np.ndarray], weight: np.ndarray, label: str) -> list[tuple[str, str]]:
    facts = [("Weighted", counted(len(weight), "instance"))]
    if WRONG in groups:
        wrong = len(groups[WRONG])
        flags = np.r_[np.zeros(len(groups[RIGHT]), bool), np.ones(wrong, bool)]
        area = scores.auc(-np.r_[groups[RIGHT], groups[WRONG]], flags)
        facts += [
            (f"{label.capitalize()} known to be wrong", f"{wrong} ({fixed(100 * wrong / len(weight))} %)"),
            (f"Mean weight, {label} right", fixed(groups[RIGHT].mean(), 2)),
            (f"Mean weight, {label} wrong", fixed(groups[WRONG].mean(), 2)),
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
