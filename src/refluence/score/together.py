"""What the networks of all folds say, as one: means over those that scored an instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refluence.score.instances import FoldScores


@dataclass(frozen=True)
class Scored:
    """Means over networks, and what each network found.

    `score`, `phi` and `loss` `(N,)` float64, NaN where no network scored an instance; `phi` is the implicit part of `score`,
    0 without that term, so that `score - phi` is the explicit one; `suggested` `(N,)`: what most of them say. `wrong_share`:
    estimated share of wrong labels (wrong_share.py), None where no network held rows out, or their probabilities were not kept.
    """

    score: Tensor
    phi: Tensor
    loss: Tensor
    suggested: Tensor
    found: tuple[FoldScores, ...]
    wrong_share: float | None = None


def together(found: Sequence[FoldScores], count: int) -> Scored:
    """The scores of `count` instances, from those of each network in the order of networks."""
    times = torch.zeros(count, dtype=torch.int64)
    for each in found:
        times[each.positions] += 1
    score, phi, loss = (torch.zeros(count, dtype=torch.float64) for _ in range(3))
    said, place = torch.zeros(count, max(1, int(times.max())), dtype=torch.int32), torch.zeros_like(times)
    for each in found:
        at = each.positions
        score[at] += each.score.double()
        phi[at] += each.phi.double()
        loss[at] += each.loss.double()
        said[at, place[at]] = each.suggested.int()
        place[at] += 1
    return Scored(score / times, phi / times, loss / times, said.mode(1).values.long(), tuple(found))
