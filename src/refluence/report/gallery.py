"""Which pictures the page shows, in which order, and in words what it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np
from numpy.typing import ArrayLike

from refluence.report.pictures import EXACT, data_uri, visible
from refluence.report.reading import Scores, Unit
from refluence.report.sampled import generated, pooled
from refluence.report.words import common_unit, compact, counted, fixed, signed

PER_CLASS = 10
CLASSES = 20
EXTREMES = 5
FIRST = 24


@dataclass(frozen=True)
class Tile:
    """One picture; without `uri` its number stands in. Below the caption come the other lines."""

    uri: str | None
    caption: str
    words: str
    number: str = ""
    suggested: str = ""
    loss: str = ""
    given: str = ""
    stored: str = ""
    file: str = ""


@dataclass(frozen=True)
class ClassRow:
    """The pictures of one class; only real instances use `lowest`."""

    name: str
    tiles: list[Tile]
    lowest: list[Tile]


@dataclass(frozen=True)
class Gallery:
    """The pictures of one arm, and what was left out."""

    title: str
    rows: list[ClassRow]
    notes: list[str]
    few: bool

    @property
    def pictured(self) -> bool:
        """Whether there is any picture at all."""
        return any(tile.uri for row in self.rows for tile in [*row.tiles, *row.lowest])

    @property
    def short(self) -> bool:
        """Whether the names of the classes fit beside their pictures on a phone."""
        return all(len(row.name) <= 3 for row in self.rows)

    @property
    def widest(self) -> int:
        """The most pictures in a row."""
        return max(len(row.tiles) for row in self.rows)


def distilled_gallery(unit: Unit) -> Gallery | None:
    """The stored images of an arm per class, stage by stage, highest influence first; None if the folder holds none."""
    distilled = unit.distilled()
    if distilled is None or not len(distilled.labels):
        return None
    card = unit.card
    influence = distilled.influence
    labels = np.unique(distilled.labels)
    stage = np.zeros(len(distilled.labels), int) if distilled.stage is None else distilled.stage
    stages = len(np.unique(stage))
    rows, most, side = [], 0, 0
    for label in labels[:CLASSES]:
        members = np.flatnonzero(distilled.labels == label)
        most = max(most, len(members))
        if influence is not None:
            members = members[np.argsort(-np.nan_to_num(influence[members], nan=-np.inf), kind="stable")]
        name = class_name(unit.classes, int(label))
        shown = _by_stage(members, stage[members])
        pixels = visible(distilled.images(shown), _listed(card.get("mean")), _listed(card.get("std")))
        side = max(side, *pixels.shape[2:])
        tiles = []
        for rank, (member, picture) in enumerate(zip(shown, pixels, strict=True), start=1):
            caption = compact(influence[member], sign=True) if influence is not None else ""
            words = f"{name}, image {rank} of {len(members)}" + (f", influence {caption}" if caption else "")
            words += f", stage {stage[member] + 1}" if stages > 1 else ""
            tiles.append(Tile(data_uri(picture), caption, words))
        rows.append(ClassRow(name, tiles, []))
    size = [f"Stored at {side} px; compressed for this page."] if side > EXACT else []
    order = (
        "Highest influence first."
        if influence is not None
        else "In stored order: the influence of these images themselves was not measured."
    )
    if generated(unit):
        order = "In the order of their choice." if pooled(unit) else "In the order in which they were sampled."
    if stages > 1:
        order = f"In the order of their {stages} stages; in each: {order[0].lower()}{order[1:]}"
    real, factor = card.get("iterations") == 0 and not generated(unit), card.get("factor", 1)
    kind = ["Real images, chosen and not changed."] if real and factor == 1 else []
    kind += [f"Each picture holds {factor} x {factor} reduced {'real ' if real else ''}images."] if factor > 1 else []
    kind += [f"Networks are trained on all {factor**2 * len(distilled.labels)}, enlarged."] if factor > 1 else []
    return Gallery(unit.arm, rows, [*kind, order, *size, *_left_out(len(labels), most)], few=most <= 3)


def real_gallery(scores: Scores, classes: list[str], title: str) -> Gallery | None:
    """The real instances of highest and lowest influence per class; None if nothing was scored."""
    if not len(scores.score):
        return None
    labels = np.unique(scores.label)
    scale = common_unit(scores.spread)
    rows = []
    for label in labels[:CLASSES]:
        high, low = _ends(scores.score, np.flatnonzero(scores.label == label), EXTREMES)
        name = class_name(classes, int(label))
        highest, lowest = ([_real(scores, i, name, classes, scale) for i in end] for end in (high, low))
        rows.append(ClassRow(name, tiles=highest, lowest=lowest))
    notes = _left_out(len(labels), 0)
    gallery = Gallery(title, rows, notes, few=False)
    if not gallery.pictured:
        notes.append("Their pictures were not stored with the scores, so the rows of the dataset are named instead.")
    return gallery


def first_tiles(scores: Scores, classes: list[str]) -> list[Tile]:
    """The real instances of highest influence, whatever their class, each with its own class in its caption."""
    scale, tiles = common_unit(scores.spread), []
    for i in highest(scores.score):
        name = class_name(classes, int(scores.label[i]))
        tiles.append(replace(_real(scores, i, name, classes, scale), given=name))
    return tiles


def highest(score: np.ndarray) -> list[int]:
    """Positions of the `FIRST` highest of finite scores (N,), but of no more than half of them."""
    return [int(i) for i in np.argsort(-score, kind="stable")[: min(FIRST, (len(score) + 1) // 2)]]


def picture_rows(index: ArrayLike, label: ArrayLike, score: ArrayLike, first: bool = False) -> list[int]:
    """The rows of the dataset whose pictures the page can show, of the scored instances given as (N,) arrays.

    The `EXTREMES` highest and lowest of each of the first `CLASSES` classes; with `first` also the highest of all. Scores
    that are not finite are skipped.
    """
    index, label, score = np.asarray(index), np.asarray(label), np.asarray(score)
    rows: list[int] = []
    known = np.isfinite(score)
    for name in np.unique(label[known])[:CLASSES]:
        high, low = _ends(score, np.flatnonzero(known & (label == name)), EXTREMES)
        rows += [int(index[i]) for i in [*high, *low]]
    if first:
        rows += [int(row) for row in index[known][highest(score[known])]]
    return list(dict.fromkeys(rows))


def class_name(classes: list[str], label: int) -> str:
    """The name of a class, or its number."""
    return classes[label] if 0 <= label < len(classes) and classes[label] else f"class {label}"


def _ends(score: np.ndarray, members: np.ndarray, count: int) -> tuple[list[int], list[int]]:
    """The highest and the lowest members, the most extreme first; nobody is in both."""
    ordered = members[np.argsort(-score[members], kind="stable")]
    high = min(count, (len(ordered) + 1) // 2)
    low = min(count, len(ordered) - high)
    return [int(i) for i in ordered[:high]], [int(i) for i in ordered[::-1][:low]]


def _real(scores: Scores, position: int, name: str, classes: list[str], scale: tuple[float, str, int]) -> Tile:
    row = int(scores.index[position])
    picture = scores.pictures.get(row)
    score = scores.score[position]
    path = scores.path[position] or ""
    where = f" ({path})" if path else ""
    words = f"{name}, row {row}{where}, influence {compact(score, sign=True)}"
    suggested, loss, stored = "", "", ""
    if scores.suggested is not None and scores.suggested[position] != scores.label[position]:
        other = class_name(classes, int(scores.suggested[position]))
        suggested, words = f"→ {other}", f"{words}, the network says {other}"
    if scores.suggested is not None and scores.loss is not None:
        loss = f"loss {fixed(scores.loss[position], 2)}"
        words = f"{words}, {loss}"
    if scores.stored is not None and scores.stored[position] != scores.label[position]:
        own = int(scores.stored[position])
        stored = f"stored: {class_name(classes, own) if own >= 0 else 'another class'}"
        words = f"{words}, {stored}"
    uri = None if picture is None else data_uri(np.asarray(picture, np.uint8))
    caption, file = signed(score / scale[0], scale[2]), scores.texts.get(row, PurePath(path).name)
    return Tile(uri, caption, words, f"row {row}", suggested, loss, stored=stored, file=file)


def _by_stage(members: np.ndarray, stage: np.ndarray) -> list[int]:
    """Members and their stages, both (M_c,), to the first few of each stage: `PER_CLASS` in all, but one of each at least."""
    parts = [members[stage == s] for s in np.unique(stage)]
    each = len(members) if len(members) <= PER_CLASS else max(1, PER_CLASS // len(parts))
    return np.concatenate([part[:each] for part in parts]).tolist()


def _left_out(classes: int, most: int) -> list[str]:
    notes = []
    if most > PER_CLASS:
        notes.append(f"Shown are {PER_CLASS} of up to {most} images per class.")
    if classes > CLASSES:
        notes.append(f"Shown are the first {CLASSES} of {counted(classes, 'class', 'classes')}.")
    return notes


def _listed(value: float | Sequence[float] | None) -> list[float] | None:
    if value is None:
        return None
    return [float(value)] if isinstance(value, (int, float)) else [float(v) for v in value]
