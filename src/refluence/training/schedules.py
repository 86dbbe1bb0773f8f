"""Learning rates, one for each epoch e = 0 … E - 1 (an update is an epoch where the protocol says so).

    steps          lr * factor^(milestones passed): a milestone m is passed from epoch floor(m E) on
    cosine         lr (1 + cos(pi e / E)) / 2                                          (SRe2L, arXiv 2306.13092, its code)
    half-cosine    lr (1 + cos(pi e / 2E)) / 2, which ends at lr / 2                   (RDED, arXiv 2312.03526, its code)
    warmup-cosine  lr e / W up to W = E / 2, then from lr down to lr / 100 by half a cosine. FRePo's code (arXiv 2206.00719)
                   warms up for 500 updates, which is half of its 1000; keeping the half for other lengths is ours

In a set of stages every stage starts again, from the sixth stage on at lr / 2 (PDD, arXiv 2310.06982, its code).

`triangle` is a rate for each step: it rises for a share of the steps, then falls to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

WARMUP, FLOOR = 0.5, 0.01
LATE = 6
"""The stage, counted from 1, from which on the rate is half."""


def drops(kind: str, epochs: int, milestones: Sequence[float]) -> set[int]:
    """Epochs that begin with a lower rate; empty for schedules without steps. `milestones`: shares of the epochs."""
    if kind != "steps":
        return set()
    return {int(share * epochs + 1e-9) for share in milestones}


def rates(
    kind: str, lr: float, epochs: int, *, milestones: Sequence[float] = (), factor: float = 1.0, stage: int = 0
) -> list[float]:
    """The learning rate of every epoch of a stage (counted from 0), by a schedule of `SCHEDULES`."""
    lr = lr / 2 if stage + 1 >= LATE else lr
    share = SCHEDULES[kind]
    if share is not None:
        return [lr * share(epoch, epochs) for epoch in range(epochs)]
    of_epochs, lower = [], drops(kind, epochs, milestones)
    for epoch in range(epochs):
        lr = lr * factor if epoch in lower else lr
        of_epochs.append(lr)
    return of_epochs


def triangle(step: int, total: int, rise: float) -> float:
    """The share of the learning rate in step 1 … `total`: it rises for the share `rise` of the steps, then falls to 0."""
    return min(step / (rise * total + 1), (total - step + 1) / ((1 - rise) * total + 1))


def _cosine(epoch: int, epochs: int) -> float:
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def _half_cosine(epoch: int, epochs: int) -> float:
    return (1 + math.cos(math.pi * epoch / epochs / 2)) / 2


def _warmup_cosine(epoch: int, epochs: int) -> float:
    up = int(WARMUP * epochs)
    if epoch < up:
        return epoch / up
    return FLOOR + (1 - FLOOR) * _cosine(epoch - up, epochs - up)


SCHEDULES: dict[str, Callable[[int, int], float] | None] = {
    "steps": None,
    "cosine": _cosine,
    "half-cosine": _half_cosine,
    "warmup-cosine": _warmup_cosine,
}
