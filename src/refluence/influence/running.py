"""The E over theta0 and the sum over t of eq. 8 (IWD, arXiv 2510.27253), as running means of scores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class RunningInfluence:
    """E over theta0 and sum over t as running means, keyed by the instance's position in the training split.

    `log (n,)`: the logarithm of the weight that an instance had last, for weights that are carried over (0 at the start).
    Two means: the influence itself (for reports and files), and the influence standardised in its bag (for weights:
    raw influence changes its scale with theta and t, so that late steps would drown early ones; ours).
    """

    def __init__(self, n: int):
        self.raw = torch.zeros(n, dtype=torch.float64)
        self.standardised = torch.zeros(n, dtype=torch.float64)
        self.log = torch.zeros(n, dtype=torch.float64)
        self.visits = torch.zeros(n, dtype=torch.int64)

    def add(self, positions: Tensor, raw: Tensor, standardised: Tensor) -> None:
        """Count one visit of each position `(B,)`, all different, with its scores `(B,)`."""
        self.visits[positions] += 1
        count = self.visits[positions].double()
        for mean, new in ((self.raw, raw), (self.standardised, standardised)):
            mean[positions] += (new.detach().cpu().double() - mean[positions]) / count

    def state(self) -> dict[str, Tensor]:
        """Tensors that restore this table bit for bit."""
        return {"raw": self.raw, "standardised": self.standardised, "log": self.log, "visits": self.visits}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name, tensor in state.items():
            getattr(self, name).copy_(tensor)
