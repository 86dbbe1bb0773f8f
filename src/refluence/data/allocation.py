"""How many distilled images each class gets (`--allocation equal|proportional`)."""

from __future__ import annotations

from collections.abc import Sequence

from refluence.data.dataset import Dataset
from refluence.errors import InputError, option


def allocate(counts: Sequence[int], per_class: int, allocation: str = "equal") -> tuple[int, ...]:
    """Images per class, given the training images per class.

    equal: `per_class` each. proportional: `per_class` times K images shared out by the class counts (largest
    remainder), at least one each. Neither gives a class more images than it has for training (`--small-classes cap`).
    """
    if allocation == "equal":
        return tuple(min(per_class, count) for count in counts)
    if allocation != "proportional":
        raise InputError(f"{option('allocation', allocation)}: choose equal or proportional")
    budget = per_class * len(counts)
    share = [budget * count / sum(counts) for count in counts]
    given = [min(count, max(1, int(s))) for s, count in zip(share, counts, strict=True)]
    while sum(given) < budget and (room := [k for k, count in enumerate(counts) if given[k] < count]):
        given[max(room, key=lambda k: (share[k] - given[k], -k))] += 1
    while sum(given) > budget:
        given[min((k for k, g in enumerate(given) if g > 1), key=lambda k: (share[k] - given[k], k))] -= 1
    return tuple(given)


def counts_of(dataset: Dataset, per_class: int, allocation: str = "equal") -> tuple[int, ...]:
    """Images of each class that are stored of a dataset. Asked of it before an arm cleans it: then all arms have the same."""
    return allocate([len(dataset.train.members(c)) for c in range(len(dataset.classes))], per_class, allocation)
