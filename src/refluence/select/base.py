"""What a selection method is: a name, a line about it, and a function from a dataset to positions in its training split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import LongTensor


@dataclass(frozen=True)
class Selection:
    """A method that keeps real images.

    `select(dataset, counts, spec, rng, device, steps)` returns positions in `dataset.train`, class by class in ascending
    order of the class and `counts[class]` for each; a class that has fewer gives all it has. `rng(purpose, index)` gives CPU
    generators. `steps` bounds the pre-training of methods that need a network (None: their own default); the others take
    no notice of it, nor of `spec`.
    """

    name: str
    summary: str
    select: Callable[..., LongTensor]
    steps: int = 0  # of its own network, where it needs one
