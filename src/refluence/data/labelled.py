"""`--labelled N`: labels of only N training rows are known, to try what learns from the others too.

The N rows are as many of each class, and where a class has no more, more of the others: so the benchmarks are
built whose names say it (CIFAR-10-4k: 400 of each class, SVHN-1k: 100). A class is what the source calls so. Which rows follows
from their numbers in the stored split alone: from no seed, and fewer are a subset of more. The validation split is cut before,
and keeps its labels.
"""

from __future__ import annotations

import numpy as np

from refluence.data.splits import mix
from refluence.errors import option


def known(labels: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """A mask `(N,)` of the `count` rows whose labels stay known (all, where there are no more)."""
    keys, place = mix(rows, "labelled"), np.empty(len(labels), np.int64)
    order = np.lexsort((rows, keys))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = np.arange(len(members))
    taken = np.zeros(len(labels), bool)
    taken[np.lexsort((rows, keys, place))[:count]] = True
    return taken


def note(asked: int, there: int) -> str:
    """One line: how many labels are known, of how many rows."""
    if asked >= there:
        return f"{option('labelled', asked)}: there are {there} training images, all of them keep their labels"
    return (
        f"{option('labelled', asked)}: labels of {asked} of {there} training images are known, of each class as many; the "
        f"other {there - asked} have none"
    )
