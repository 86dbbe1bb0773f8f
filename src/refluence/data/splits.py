"""Cutting one split into two: stratified, deterministic, groups kept whole; and keeping only so many rows of one.

The order in which rows are taken comes from a hash of the row's number, so a row's place does not depend on which other
rows are left out: dropping 5 % of train leaves nearly the same validation split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

SALTS = {
    "test": 0x7E57,
    "val": 0xA11D,
    "noise": 0x4015E,
    "noise-class": 0xC1A55,
    "rows": 0x2035,
    "shift": 0x5417F,
    "imbalance": 0x7A11,
    "labelled": 0x1ABE1,
    "watch": 0x3A7C4,
}


def mix(values: np.ndarray, purpose: str) -> np.ndarray:
    """splitmix64 of `(N,)` integers: the same numbers on every machine."""
    with np.errstate(over="ignore"):
        x = values.astype(np.uint64) + np.uint64(SALTS[purpose]) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def cut(
    labels: np.ndarray, rows: np.ndarray, fraction: float, purpose: str, groups: Sequence[object] | None = None
) -> np.ndarray:
    """A mask `(N,)`: True where the row goes to the new split ('val' or 'test').

    `labels (N,)` and `rows (N,)` (stored row numbers) belong together, `groups` (N values) too. Of a class with n >= 2
    rows, max(1, round(fraction n)) rows are taken and at least one stays; a class with one row stays whole. With
    groups, whole groups are taken greedily towards the same counts; a class that lies in one group stays whole.
    """
    goal = {}
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        goal[int(label)] = min(max(1, round(fraction * int(count))), int(count) - 1)
    if groups is not None:
        return _cut_groups(labels, goal, purpose, groups)
    taken = np.zeros(len(labels), bool)
    order = np.lexsort((rows, mix(rows, purpose)))
    for label, count in goal.items():
        taken[order[labels[order] == label][:count]] = True
    return taken


def share(labels: np.ndarray, rows: np.ndarray, fraction: float, purpose: str) -> np.ndarray:
    """A mask `(N,)` of round(fraction n_c) of the n_c rows of each class; a larger fraction adds rows to a smaller one's."""
    order, taken = np.lexsort((rows, mix(rows, purpose))), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        taken[members[: round(fraction * len(members))]] = True
    return taken


def first(labels: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """A mask `(N,)` of `count` rows (all, where there are no more), class by class in proportion.

    The i-th of the n_c rows of a class, in the order of the hash, stands at (i - 1/2)/n_c, and those that stand first are
    taken: so fewer rows are a subset of more (Sainte-Laguë's way to share out seats).
    """
    keys, place = mix(rows, "rows"), np.empty(len(labels))
    order = np.lexsort((rows, keys))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    taken = np.zeros(len(labels), bool)
    taken[np.lexsort((rows, keys, place))[:count]] = True
    return taken


def _cut_groups(labels: np.ndarray, goal: dict[int, int], purpose: str, groups: Sequence[object]) -> np.ndarray:
    """Whole groups, in the order of a hash of their names. A None is a group of one row."""
    named = [f"row {i}" if g is None else f"group {g!r}" for i, g in enumerate(groups)]
    unique, member = np.unique(np.array(named), return_inverse=True)
    digests = [hashlib.blake2b(group.encode(), digest_size=8).digest() for group in unique]
    keys = np.frombuffer(b"".join(digests), "<u8")
    classes = sorted(goal)
    counts = np.zeros((len(unique), len(classes)), np.int64)
    np.add.at(counts, (member, np.searchsorted(classes, labels)), 1)
    left, want = counts.sum(0), np.array([goal[c] for c in classes])
    chosen = np.zeros(len(unique), bool)

    def take(group: int) -> None:
        nonlocal left, want
        chosen[group] = True
        left, want = left - counts[group], want - counts[group]

    def keeps_all(group: int) -> bool:
        return bool(((left - counts[group] > 0) | (counts[group] == 0)).all())

    order = np.lexsort((np.arange(len(unique)), mix(keys, purpose)))
    for group in order:  # a group is taken if it brings the counts closer to the goal
        closer = np.abs(want - counts[group]).sum() < np.abs(want).sum()
        if closer and keeps_all(group):
            take(group)
    for column in range(len(classes)):  # then the smallest group that gives a class its first row
        if counts[chosen, column].sum() == 0:
            for group in sorted(order, key=lambda g: counts[g].sum()):
                if counts[group, column] and keeps_all(group):
                    take(group)
                    break
    return chosen[member]
