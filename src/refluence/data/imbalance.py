"""`--imbalance RATIO`: a long-tailed training set, to try what does without many images of every class.

    n_c = floor(n_max RATIO^(-c / (C - 1)))     c = 0 … C - 1     n_max: rows of the largest class

(Cui et al. 2019, arXiv 1901.05555, sec. 5.1: the first class stays whole, the last one keeps 1/RATIO of it.) A class that has
fewer rows keeps them all, and every class keeps one. A class is what the source calls so, also where `labels` or `noise` give
other labels. Which rows follows from their numbers in the stored split alone, as the cuts do: from no seed, and the rows of a
larger RATIO are a subset of those of a smaller one.
"""

from __future__ import annotations

import math

import numpy as np

from refluence.data.splits import mix
from refluence.errors import option

ROUNDING = 1e-9  # of the power, so that 100^(-1/2) of 500 rows is 50 of them


def counts(largest: int, classes: int, ratio: float) -> list[int]:
    """n_c for each class."""
    share = [ratio ** (-c / max(1, classes - 1)) for c in range(classes)]
    return [max(1, math.floor(largest * each * (1 + ROUNDING))) for each in share]


def long_tailed(labels: np.ndarray, rows: np.ndarray, ratio: float) -> np.ndarray:
    """A mask `(N,)` of the rows that stay. `rows (N,)` are their stored row numbers; classes without a row do not count."""
    there = np.unique(labels)
    order, taken = np.lexsort((rows, mix(rows, "imbalance"))), np.zeros(len(labels), bool)
    largest = max((int((labels == label).sum()) for label in there), default=0)
    for label, count in zip(there, counts(largest, len(there), ratio), strict=True):
        taken[order[labels[order] == label][:count]] = True
    return taken


def note(labels: np.ndarray, taken: np.ndarray, ratio: float, own_val: bool) -> str:
    """One line: how many rows are left, and of the largest and the smallest class."""
    left = np.unique(labels[taken], return_counts=True)[1]
    cut = "" if own_val else ", validation is cut from them"
    return (
        f"{option('imbalance', ratio)}: {int(taken.sum())} of {len(labels)} training images are kept, from "
        f"{left.max()} to {left.min()} of a class{cut}"
    )
