"""What an image step tells: its losses, how uneven its weights are, and how far the terms of its influence spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from refluence.condense.real_side import Match
from refluence.influence.links import effective_sample_size


@dataclass(frozen=True)
class StepEvent:
    """What one image step tells: its number, the loss, per class too, and the effective sample size (a share).

    By class, over its real batch of n; empty where nothing was measured:

        spread      sd(I)               of the scores that weigh, 1/n in the variance
        explicit    sd(E)               of the explicit term alone, where I has an implicit term G too
        implicit    sd(G)               of the implicit term alone, there
        agreement   cov(E, G) / (sd(E) sd(G))               0 where one of the two is constant
        weight      (1/n) sum_j omega_j                     where classes compete (bag batch or all): else it is 1

    With I = E + G: spread^2 = explicit^2 + implicit^2 + 2 agreement explicit implicit.
    """

    step: int
    loss: float
    loss_by_class: tuple[float, ...]
    ess: float
    spread_by_class: tuple[float, ...] = ()
    explicit_by_class: tuple[float, ...] = ()
    implicit_by_class: tuple[float, ...] = ()
    agreement_by_class: tuple[float, ...] = ()
    weight_by_class: tuple[float, ...] = ()


def event_of(step: int, matches: Sequence[Match], compete: bool) -> StepEvent:
    """What image step `step` tells; `compete`: classes share one bag, so that their weights need not have mean 1."""
    losses = [float(match.distance) for match in matches]
    shares = [1.0 if match.omega is None else float(effective_sample_size(match.omega)) for match in matches]
    measured = [m.terms for m in matches if m.terms is not None and m.terms.explicit is not None]
    both = [(t.explicit, t.implicit) for t in measured if t.explicit is not None and t.implicit is not None]
    weighed = [m.omega for m in matches if m.omega is not None and compete]
    return StepEvent(
        step, math.fsum(losses), tuple(losses), sum(shares) / len(shares),
        spread_by_class=tuple(spread(terms.scores) for terms in measured),
        explicit_by_class=tuple(spread(explicit) for explicit, _ in both),
        implicit_by_class=tuple(spread(implicit) for _, implicit in both),
        agreement_by_class=tuple(agreement(explicit, implicit) for explicit, implicit in both),
        weight_by_class=tuple(float(omega.mean()) for omega in weighed),
    )  # fmt: skip


def spread(scores: Tensor) -> float:
    """Standard deviation of `(n,)`, with 1/n in the variance."""
    return float(scores.double().std(correction=0))


def agreement(a: Tensor, b: Tensor) -> float:
    """Linear correlation of `(n,)` and `(n,)`; 0 where one of them is constant."""
    a, b = (x.double() - x.double().mean() for x in (a, b))
    size = float(a.norm() * b.norm())
    return max(-1.0, min(1.0, float(a @ b) / size)) if size else 0.0
