"""The weights of training instances over a run: the shared weigher between two refreshes, and what a loss takes of it.

Facts (effective sample size, share below 1) are of the link's own values, where a score of 0 weighs 1; a loss takes them
divided by their mean: over all instances, over each class where the bag is the class, so that no weight moves from class to
class, or over the batch where the bag is the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from refluence.influence.running import RunningInfluence
from refluence.influence.weigher import Weigher
from refluence.influence.weighting import Weighting
from refluence.transfer.scoring import Scores


class InstanceWeights:
    """Weights of `labels (N,)` instances, 1 until they are scored.

    `omega (N,)`: the link's values of the last refresh; `value` and `loss`: what they were made of; `scored (N,)`: how often.
    """

    def __init__(self, weighting: Weighting, labels: Tensor, steps: int):
        # one bag of everything is a batch of everything: the newest scores, where the weigher's own bag=all takes their means
        own = weighting.with_(bag="batch") if weighting.bag == "all" else weighting
        self.weighting, self.labels = weighting, labels
        self.weigher = Weigher(own, RunningInfluence(len(labels)), steps)
        self.omega, self.value, self.loss = (torch.full((len(labels),), x, dtype=torch.float64) for x in (1.0, 0.0, 0.0))

    @property
    def by_batch(self) -> bool:
        """Whether the instances of a batch compete, and no others."""
        return self.weighting.bag == "batch"

    @property
    def by_class(self) -> bool:
        """Whether the instances of a class compete, and no others."""
        return self.weighting.bag == "class"

    @property
    def scored(self) -> Tensor:
        """How often each was scored `(N,)`."""
        return self.weigher.table.visits

    def refresh(self, positions: Tensor, scores: Scores | None, step: int, generator: torch.Generator) -> None:
        """New weights of the instances at `positions (n,)`; None: by the running means of their scores."""
        if scores is not None:
            self.value[positions], self.loss[positions] = scores.value.double(), scores.loss.double()
        value = None if scores is None else scores.value
        omega = self.weigher.weigh(positions, value, step, generator, self.labels[positions])
        self.omega[positions] = 1.0 if omega is None else omega.double()

    def of(self, positions: Tensor) -> Tensor:
        """The weights of a loss `(n,)`: of mean 1 in the bag. What lies behind the last training instance is not weighed."""
        own = positions < len(self.omega)
        omega = self.omega[positions[own]]
        mean = self._means()[self.labels[positions[own]]] if self.by_class else (omega if self.by_batch else self.omega).mean()
        every = torch.ones(len(positions), dtype=torch.float64)
        every[own] = omega / torch.where(mean == 0, 1.0, mean)
        return every.float()

    def _means(self) -> Tensor:
        """The mean `(C,)` of each class, over what is scored; 1 where nothing is."""
        scored = self.scored > 0
        labels, classes = self.labels[scored], int(self.labels.max()) + 1
        sums = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels, self.omega[scored])
        counts = torch.bincount(labels, minlength=classes)
        return torch.where(counts == 0, 1.0, sums / counts)

    def state(self) -> dict[str, Tensor]:
        """All that the next weights depend on."""
        return {"omega": self.omega, "value": self.value, "loss": self.loss, **self.weigher.state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        own = {name: state[name] for name in ("omega", "value", "loss")}
        for name, tensor in own.items():
            getattr(self, name).copy_(tensor)
        self.weigher.restore({name: tensor for name, tensor in state.items() if name not in own})
