"""The implicit term of the influence where networks train on D (IWD, arXiv 2510.27253, eq. 22-23 and 25), taken as stationary:

    q = d/dtheta sum_c D(a_c, b_c)          through both sides, at fixed weights
    x = H^-1 q                              H of the mean inner loss on a batch of D, + its weight decay; damped Gauss-Newton
    I_imp,j = -(n_c/N) <x, grad l_j>        one solve an image step serves every j

n_c/N brings the derivative by one simplex over D to that of the class's own simplex, the scale of the explicit term
(influence/distillation.py). Ours: theta is some steps into training, not stationary, so this is eq. 23 outside its
assumption; the curvature comes from one batch; grad l_j is that of the image as it is matched, as the networks of IDC and
its kin train on the same augmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refluence.condense.settings import Settings
from refluence.data.dataset import Dataset
from refluence.influence.curvature import Curvature, inverse_product
from refluence.influence.directional import scores
from refluence.influence.distillation import term
from refluence.influence.parameters import Parameters, parameters_of, zeros
from refluence.matching.discrepancies import Discrepancy
from refluence.matching.statistics import Batch, Statistic
from refluence.seeds import Rng

BATCH = 256  # images of D that the curvature is taken from
ITERATIONS = 20  # of conjugate gradients at most
Pair = tuple[Statistic, Batch, Batch]
"""The statistic of a class, its synthetic (x, y) and its real (x, y) or (x, y, omega)."""


@dataclass(frozen=True)
class Solution:
    """x = H^-1 q at one theta, and the share n_c/N of each class `(K,)`."""

    x: Parameters
    shares: Tensor
    labels: Tensor

    def scores(self, net: nn.Module, x: Tensor, y: Tensor, positions: Tensor) -> Tensor:
        """-(n_c/N) <x, grad l_j> `(n,)`, on the CPU."""
        return -self.shares[self.labels[positions]] * scores(net, x, y, self.x).cpu()


class Implicit:
    """The curvature's data and settings of a run."""

    def __init__(
        self, dataset: Dataset, settings: Settings, rng: Rng, device: torch.device, curvature: Curvature | None = None
    ):
        self.dataset, self.settings, self.rng, self.device = dataset, settings, rng, device
        self.curvature = curvature or Curvature("ggn", iterations=ITERATIONS, tolerance=1e-2)
        counts = dataset.train.labels.bincount(minlength=len(dataset.classes))
        self.shares = counts.float() / len(dataset.train)

    def solve(
        self,
        net: nn.Module,
        pairs: Sequence[Pair],
        distance: Discrepancy,
        step: int,
    ) -> Solution:
        """x for the sum over the classes' pairs."""
        return Solution(self.inverse(net, total(net, pairs, distance), step), self.shares, self.dataset.train.labels)

    def inverse(self, net: nn.Module, q: Parameters, step: int) -> Parameters:
        """H^-1 q."""
        n = len(self.dataset.train)
        chosen = torch.randperm(n, generator=self.rng("curvature", step))[:BATCH]
        x, y = self.dataset.pixels(self.dataset.train, chosen, self.device), self.dataset.train.labels[chosen].to(self.device)
        return inverse_product(net, [(x, y)], q, self.curvature, weight_decay=self.settings.net_weight_decay).x


def total(net: nn.Module, pairs: Sequence[Pair], distance: Discrepancy) -> Parameters:
    """q = sum_c J_syn^T grad_1 D + J_real^T grad_2 D (eq. 22), each class with a statistic of its own."""
    q = zeros(parameters_of(net))
    for statistic, synthetic, real in pairs:
        _, _, found = term(net, statistic, distance, [synthetic], [real], q)
        assert found is not None, "asked for by q"
        q = found
    return q
