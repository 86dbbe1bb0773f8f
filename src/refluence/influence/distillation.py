"""The influence of a real instance on the distillation objective (IWD, arXiv 2510.27253, eq. 8-26): the explicit term.

    M(S; D, w) = E_theta0 sum_t D(a_t, b_t),   a = Phi_syn(S; theta_t),   b = sum_j w_j phi_j(theta_t)
    I_j = dM/dw_j = E_theta0 sum_t <grad_2 D(a_t, b_t), phi_j>                        (eq. 24; exact when S_inner = S)

With gradients as the statistic phi_j = grad l_j, so one directional pass along v = grad_2 D gives every I_j. Positive I_j:
more weight on j raises the discrepancy; the instance is not matched yet.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.influence.capture import Capture


def explicit(capture: Capture, direction: dict[str, Tensor]) -> Tensor:
    """I_j `(B,)` of one class batch at one theta, along `direction` = grad_2 D(a, b)  (eq. 24, one term of the sum)."""
    return capture.scores(direction)


class RunningInfluence:
    """E over theta0 and sum over t as running means, keyed by the instance's position in the training split.

    Two means: the influence itself (for reports and files), and the influence standardised in its bag (for weights:
    raw influence changes its scale with theta and t, so that late steps would drown early ones; ours).
    """

    def __init__(self, n: int):
        self.raw = torch.zeros(n, dtype=torch.float64)
        self.standardised = torch.zeros(n, dtype=torch.float64)
        self.visits = torch.zeros(n, dtype=torch.int64)

    def add(self, positions: Tensor, raw: Tensor, standardised: Tensor) -> None:
        """Count one visit of each position `(B,)`, all different, with its scores `(B,)`."""
        self.visits[positions] += 1
        count = self.visits[positions].double()
        for mean, new in ((self.raw, raw), (self.standardised, standardised)):
            mean[positions] += (new.detach().cpu().double() - mean[positions]) / count

    def state(self) -> dict[str, Tensor]:
        """Tensors that restore this table bit for bit."""
        return {"raw": self.raw, "standardised": self.standardised, "visits": self.visits}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name, tensor in state.items():
            getattr(self, name).copy_(tensor)
