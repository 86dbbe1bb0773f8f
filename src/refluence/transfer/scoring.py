"""What training instances are weighted by, at a student as it stands:

    influence    phi_j = -< H^-1 grad R_val, grad l_j >     on the half of the validation split that makes weights
    loss         l_j
    adapt        minus the mean cosine of the features of j with those of validation instances    ADAPT, ICLR 2026

l is the student's own loss, R_val cross-entropy (or its own loss), H the curvature of the mean unweighted loss on a sample of
training instances, damped as far from a minimum: the step that phi stands for stays short. Instances are as they are stored
(not augmented), the student is in evaluation mode. Positive phi harms.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.influence.batches import passes
from refluence.influence.curvature import Curvature, damped, inverse_product
from refluence.influence.directional import Scorer
from refluence.influence.losses import Loss, cross_entropy
from refluence.influence.parameters import scaled
from refluence.influence.risk import risk_gradient
from refluence.influence.weighting import BY_INFLUENCE
from refluence.matching.statistics import Batches
from refluence.models.last_block import last_block
from refluence.models.own import last_linear
from refluence.transfer.settings import Settings

FEW = 2  # instances that the last linear layer is found by


@dataclass(frozen=True)
class Scores:
    """Of some instances `(n,)`, on the CPU: what they are weighted by, and their losses."""

    value: Tensor
    loss: Tensor


class Measure:
    """Scores of instances by one network, again and again as it is trained.

    Args:
        net: the student.
        loss: its loss, `(logits, (labels, teacher's logits)) -> (B,)`.
        kind: a kind of weights.
        settings: curvature, risk and parameters of the influence.
        classes: how many there are.
    """

    def __init__(self, net: nn.Module, loss: Loss, kind: str, settings: Settings, classes: int):
        self.net, self.loss, self.kind, self.settings, self.classes = net, loss, kind, settings, classes
        self.scorer = Scorer(net, loss=loss)
        self.place: str | None = None

    def __call__(self, train: Batches, validation: Batches, fit: Batches) -> Scores:
        """Scores of `train`, with the risk on `validation` and the curvature of `fit`. The network is in evaluation mode.

        `train` and `fit` are batches (x, y) with y as the loss takes them, `validation` has labels alone, or with the student's
        own loss as risk, what that takes.
        """
        if self.kind in BY_INFLUENCE:
            return self._influence(train, validation, fit)
        losses = _losses(self.net, self.loss, train)
        if self.kind != "adapt":
            return Scores(losses, losses)
        anchor = F.normalize(self._features(validation), dim=1).mean(0)
        return Scores(-(F.normalize(self._features(train), dim=1) @ anchor).cpu(), losses)

    def _influence(self, train: Batches, validation: Batches, fit: Batches) -> Scores:
        how, names = self.settings, self._names(validation)
        curvature = Curvature(how.curvature, damping=how.damping, iterations=how.solve)
        curvature = damped(self.net, fit, curvature, loss=self.loss, names=names)
        risk = self.loss if how.risk == "student" else cross_entropy
        gradient, _ = risk_gradient(self.net, validation, risk, names)
        solution = inverse_product(self.net, fit, gradient, curvature, loss=self.loss, names=names)
        against = scaled(solution.x, -1.0)
        found = [self.scorer.with_losses(x, y, against) for x, y, *_ in train]
        values, losses = zip(*found, strict=True)
        return Scores(torch.cat(values).cpu(), torch.cat(losses).cpu())

    def _names(self, some: Batches) -> list[str]:
        """The parameters that count: those that learn, or of them those of the last block and the head, or of a pattern."""
        learning, which = [name for name, p in self.net.named_parameters() if p.requires_grad], self.settings.parameters
        if which == "all":
            return learning
        if which != "last":
            return [name for name in learning if fnmatchcase(name, which)]
        chosen = last_block(self.net, self._last(some))
        return [name for name in learning if name in chosen]

    def _last(self, some: Batches) -> str:
        if self.place is None:
            x, _, _ = next(passes(some, next(self.net.parameters()).device))
            self.place, _ = last_linear(self.net, x[:FEW], self.classes)
        if self.place is None:
            raise InputError(
                f"{type(self.net).__name__} has no linear layer that gives its {self.classes} logits: parameters=last and "
                "weights by adapt need one"
            )
        return self.place

    @torch.no_grad()
    def _features(self, batches: Batches) -> Tensor:
        """Inputs `(n, F)` of the last linear layer."""
        seen: list[Tensor] = []
        layer = self.net.get_submodule(self._last(batches))
        handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1)))
        try:
            for x, _, _ in passes(batches, next(self.net.parameters()).device):
                self.net(x)
        finally:
            handle.remove()
        return torch.cat(seen)


@torch.no_grad()
def _losses(net: nn.Module, loss: Loss, batches: Batches) -> Tensor:
    return torch.cat([loss(net(x), y) for x, y, _ in passes(batches, next(net.parameters()).device)]).cpu()
