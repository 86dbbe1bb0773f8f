"""`--noise symmetric:P|asymmetric:P`: wrong labels on purpose, to try what finds them or does without them.

In each class round(P n) of its n rows get another label:

    symmetric    one of the other classes, each as likely as any, never its own
    asymmetric   the next class, the last one the first (Zhang and Sabuncu 2018, arXiv 1805.07836, for CIFAR-100). With the
                 ten classes of CIFAR-10 by name: truck → automobile, bird → airplane, deer → horse, cat ↔ dog, and the
                 other five stay right (Patrini et al. 2017, arXiv 1609.03683)

Which rows, and which class each of them gets, follows from its number in the stored split alone, as the cuts do: from no seed,
and a larger P adds wrong labels to those of a smaller one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refluence.data.agreement import plain
from refluence.data.options import share_of
from refluence.data.splits import mix, share
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option, stated
from refluence.options import SourceOptions

KINDS = ("symmetric", "asymmetric")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LOOKALIKES = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}


@dataclass(frozen=True)
class Noise:
    """What kind of wrong labels, and on which share of each class."""

    kind: str
    share: float


def read(options: SourceOptions) -> Noise | None:
    """The noise that is asked for, None where there is none. `InputError` where it cannot be."""
    text = options.noise
    if text is None:
        return None
    kind, _, number = text.partition(":")
    share = share_of(number)
    if kind not in KINDS or not 0 < share < 1:
        raise InputError(
            f"{stated('noise', text)}: it must be symmetric:P or asymmetric:P, where P is a share above 0 and below 1, as in "
            "symmetric:0.4"
        )
    if options.labels is not None:
        raise InputError(
            f"{stated('noise', text)}: it is for labels as the source stores them, and "
            f"{option('labels', options.labels)} puts others in their place: leave one of the two out"
        )
    return Noise(kind, share)


def noisy(labels: np.ndarray, rows: np.ndarray, classes: Sequence[str], noise: Noise) -> np.ndarray:
    """Labels `(N,)` with noise. `rows (N,)` are their stored row numbers, `classes` the names of the labels.

    A class without a row here neither gets nor gives any.
    """
    there = np.unique(labels)
    if len(there) < 2:
        return labels.copy()
    place = np.searchsorted(there, labels)
    if noise.kind == "symmetric":
        steps = 1 + mix(rows, "noise-class") % np.uint64(len(there) - 1)
        other = there[(place + steps.astype(np.int64)) % len(there)]
    else:
        other = _next(there, classes)[place]
    return np.where(share(labels, rows, noise.share, "noise"), other, labels)


def _next(there: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """For each class that is there, the one that its rows are mistaken for."""
    index = {plain(classes[label]): label for label in there.tolist()}
    if set(index) != set(CIFAR10) or len(there) != len(CIFAR10):
        return np.roll(there, -1)
    return np.array([index[LOOKALIKES.get(name, name)] for name in index])


def refuse_soft(train: RawSplit, noise: Noise | None) -> None:
    """`InputError` for noise on a distilled set with soft labels, which it would not change."""
    if noise is not None and train.soft is not None:
        raise InputError(f"{option('noise')}: {train.where} has soft labels, which would stay right: leave it out")


def note(before: np.ndarray, after: np.ndarray, text: str, own_val: bool) -> str:
    """One line: how many labels were changed, and of what."""
    what, kept = ("", "validation and test") if own_val else (" (and of the validation split cut from it)", "test")
    changed = int((before != after).sum())
    return f"{option('noise', text)}: {changed} of {len(after)} labels of train{what} are changed, those of {kept} are not"
