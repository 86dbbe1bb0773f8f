"""Learning rates, one for each epoch e = 0 … E - 1 (an update is an epoch where the protocol says so).

    steps          lr * factor^(milestones passed): a milestone m is passed from epoch floor(m E) on
    cosine         lr (1 + cos(pi e / E)) / 2                                          (SRe2L, arXiv 2306.13092, its code)
    half-cosine    lr (1 + cos(pi e / 2E)) / 2, which ends at lr / 2                   (RDED, arXiv 2312.03526, its code)
    warmup-cosine  lr e / W up to W = E / 2, then from lr down to lr / 100 by half a cosine. FRePo's code (arXiv 2206.00719)
                   warms up for 500 updates, which is half of its 1000; keeping the half for other lengths is ours

In a set of stages every stage starts again, from the sixth stage on at lr / 2 (PDD, arXiv 2310.06982, its code).
"""

from __future__ import annotations

import math

from refluence.evaluate.protocol import Protocol

WARMUP, FLOOR = 0.5, 0.01
LATE = 6
"""The stage, counted from 1, from which on the rate is half."""


def drops(protocol: Protocol) -> set[int]:
    """Epochs that begin with a lower rate; empty for schedules without steps."""
    if protocol.schedule != "steps":
        return set()
    return {int(share * protocol.epochs + 1e-9) for share in protocol.milestones}


def rates(protocol: Protocol, stage: int = 0) -> list[float]:
    """The learning rate of every epoch of a stage (counted from 0)."""
    lr = protocol.lr / 2 if stage + 1 >= LATE else protocol.lr
    if protocol.schedule == "steps":
        found, lower = [], drops(protocol)
        for epoch in range(protocol.epochs):
            lr = lr * protocol.factor if epoch in lower else lr
            found.append(lr)
        return found
    return [lr * SCHEDULES[protocol.schedule](epoch, protocol.epochs) for epoch in range(protocol.epochs)]


def _cosine(epoch: int, epochs: int) -> float:
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def _half_cosine(epoch: int, epochs: int) -> float:
    return (1 + math.cos(math.pi * epoch / epochs / 2)) / 2


def _warmup_cosine(epoch: int, epochs: int) -> float:
    up = int(WARMUP * epochs)
    if epoch < up:
        return epoch / up
    return FLOOR + (1 - FLOOR) * _cosine(epoch - up, epochs - up)


SCHEDULES = {"steps": None, "cosine": _cosine, "half-cosine": _half_cosine, "warmup-cosine": _warmup_cosine}
