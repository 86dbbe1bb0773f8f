"""What a teacher says of instances: its logits, on line for a batch, kept by row while it is fixed."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from refluence.data.dataset import Split
from refluence.transfer.batches import Instances, logits_of


class Answers:
    """The logits of a teacher in evaluation mode.

    Args:
        net: the teacher.
        fixed: whether it stays as it is, so that what it said once of a row holds.
    """

    def __init__(self, net: nn.Module, fixed: bool):
        self.net, self.fixed = net, fixed
        self.kept: list[tuple[Split, Tensor]] = []

    @torch.no_grad()
    def targets(self, x: Tensor, instances: Instances, moved: bool) -> tuple[Tensor, Tensor]:
        """Labels and logits of a batch with inputs x `(B, ...)`; `moved`: they are not those that are stored."""
        labels = instances.labels()
        if moved or not self.fixed:
            return labels, self.net(x).float()
        return labels, self._kept(instances)[instances.positions.to(x.device)]

    def beside(self, instances: Instances) -> Instances:
        """The instances with labels and logits as their targets."""
        if self.fixed:
            return replace(instances, logits=self._kept(instances))
        logits = logits_of(self.net, instances)
        every = logits.new_zeros(len(instances.split), logits.shape[1])
        every[instances.positions.to(every.device)] = logits
        return replace(instances, logits=every)

    def _kept(self, instances: Instances) -> Tensor:
        """Of all instances of the split."""
        for split, logits in self.kept:
            if split is instances.split:
                return logits
        every = torch.arange(len(instances.split))
        self.kept.append((instances.split, logits_of(self.net, instances.take(every))))
        return self.kept[-1][1]
