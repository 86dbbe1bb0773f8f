"""The memory of the deviation: the images of each class that are finished, all of them (IGD eq. 8) or the last ones."""

from __future__ import annotations

import torch
from torch import Tensor


class Memory:
    """Finished images, in the order in which they came.

    Args:
        last: how many of each class count; None: all (the released code: 64).

    Example:
        >>> memory = Memory(last=1)
        >>> memory.add(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 0, 1]))
        >>> [part.flatten().tolist() for part in memory.among(torch.zeros(1, 1), torch.tensor([0]))]
        [[2.0], [0]]
    """

    def __init__(self, last: int | None = None):
        self.last = last
        self.of: dict[int, Tensor] = {}

    def add(self, z: Tensor, y: Tensor) -> None:
        """Images `(B, ...)` of classes `y` `(B,)` are finished."""
        for label in y.unique().tolist():
            found = z[y == label]
            before = self.of.get(label)
            held = found if before is None else torch.cat([before, found])
            self.of[label] = held if self.last is None else held[max(0, len(held) - self.last) :]

    def among(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What counts for samples `z` `(B, ...)` of classes `y`: `(M, ...)` like `z`, and their classes `(M,)`."""
        labels = [label for label in y.unique().tolist() if label in self.of]
        held = [self.of[label].to(z) for label in labels]
        classes = [y.new_full((len(part),), label) for label, part in zip(labels, held, strict=True)]
        return torch.cat([z[:0], *held]), torch.cat([y[:0], *classes])
