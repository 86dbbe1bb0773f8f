"""What guidance makes of the same noise: pictures of several arms below each other, a column a noise (IGD, Fig. 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refluence.report.gallery import Tile, class_name
from refluence.report.pictures import data_uri, visible
from refluence.report.reading import Distilled, Unit
from refluence.report.sampled import chosen, generated
from refluence.report.words import fixed

COLUMNS = 10
"""Pictures in a row, one a class."""
BLOCKS = 3
"""Pictures of a class, a block each."""


@dataclass(frozen=True)
class NoiseRow:
    """The pictures of an arm. `change`: how far they are from those of the arm that it is compared with, in words."""

    arm: str
    tiles: list[Tile]
    change: str = ""


@dataclass(frozen=True)
class NoiseBlock:
    """One noise of each class, and what each arm made of it."""

    classes: list[str]
    rows: list[NoiseRow]


@dataclass(frozen=True)
class SameNoise:
    """The blocks of a seed, and in words what they leave out."""

    blocks: list[NoiseBlock]
    notes: list[str]


def same_noise(units: list[Unit], against: dict[str, str]) -> SameNoise | None:
    """The arms whose image i of class c began with the same noise; None of fewer than two. `against`: what each is compared
    with."""
    found = _together(units)
    if len(found) < 2:
        return None
    labels = sorted(set.intersection(*({int(label) for label in small.labels} for _, small in found)))
    if not labels:
        return None
    shown, many = labels[:COLUMNS], min(_fewest(small, labels[:COLUMNS]) for _, small in found)
    names = [class_name(found[0][0].classes, label) for label in shown]
    # one picture of few classes leaves room for the next ones of the same class
    each = max(1, COLUMNS // len(shown)) if many > 1 else 1
    blocks = []
    for first in range(0, min(many, each * BLOCKS), each):
        numbers = range(first, min(first + each, many))
        heads = [name for name in names for _ in numbers]
        pictures = {unit.arm: _pictures(unit, small, shown, numbers) for unit, small in found}
        blocks.append(NoiseBlock(heads, [_row(arm, pictures, against.get(arm, ""), heads, numbers) for arm in pictures]))
    seed = found[0][0].seed
    notes = [f"Seed {seed}."] if seed else []
    notes += [f"The first {len(shown)} of {len(labels)} classes."] if len(labels) > len(shown) else []
    left = [unit.arm for unit in units if generated(unit) and chosen(unit)]
    notes += [f"{', '.join(dict.fromkeys(left))}: selected from more images, so that no column is its own."] if left else []
    return SameNoise(blocks, notes)


def _together(units: list[Unit]) -> list[tuple[Unit, Distilled]]:
    """The units of the first seed that were sampled, each with its images."""
    own = [unit for unit in units if generated(unit) and not chosen(unit)]
    first = next((unit.seed for unit in own), "")
    found = [(unit, unit.distilled()) for unit in own if unit.seed == first]
    return [(unit, small) for unit, small in found if small is not None and len(small.labels)]


def _fewest(small: Distilled, labels: list[int]) -> int:
    return min(int((small.labels == label).sum()) for label in labels)


def _pictures(unit: Unit, small: Distilled, labels: list[int], numbers: range) -> np.ndarray:
    """uint8 (len(labels) * len(numbers), C, H, W): the images of these numbers, class after class."""
    rows = [int(np.flatnonzero(small.labels == label)[number]) for label in labels for number in numbers]
    mean, std = (unit.card.get(name) for name in ("mean", "std"))
    return visible(small.images(rows), *([float(v) for v in np.atleast_1d(n)] if n is not None else None for n in (mean, std)))


def _row(arm: str, pictures: dict[str, np.ndarray], other: str, heads: list[str], numbers: range) -> NoiseRow:
    tiles = []
    for place, picture in enumerate(pictures[arm]):
        words = f"{arm}, {heads[place]}, noise {numbers[place % len(numbers)] + 1}"
        tiles.append(Tile(data_uri(picture), "", words))
    if other not in pictures or pictures[other].shape != pictures[arm].shape:
        return NoiseRow(arm, tiles)
    apart = np.abs(pictures[arm].astype(np.float32) - pictures[other]).mean() / 255
    return NoiseRow(arm, tiles, f"{fixed(100 * float(apart))} % from {other}")
