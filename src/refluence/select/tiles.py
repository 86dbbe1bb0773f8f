"""Tiled selections: factor^2 reduced real images in the space of one, the fair rival of every multi-formation method (ours).

    stored image i of a class  =  images i, n + i, 2n + i, … of the class's factor^2 n chosen ones, each reduced by area
                                  means and laid side by side (data/formation.py)

Means of pixels and normalisation commute (both are affine), so normalised images are reduced; nothing is rounded to 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.data.formation import edges, tile
from refluence.errors import NoRoomError, option


def tiled(dataset: Dataset, positions: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Images `(M, C, H, W)`, normalised, and labels `(M,)` of the training images at `positions` `(factor^2 M,)`.

    With factor 1 in the order of `positions`, else class by class.
    """
    labels = dataset.train.labels[positions]
    if factor == 1:
        return dataset.pixels(dataset.train, positions), labels
    parts = [tile(dataset.pixels(dataset.train, positions[labels == c]), factor) for c in labels.unique()]
    return torch.cat(parts), torch.cat([labels[labels == c][:: factor**2] for c in labels.unique()])


def check_room(dataset: Dataset, counts: Sequence[int], factor: int) -> None:
    """`NoRoomError` where a class has fewer than factor^2 counts[class] images; `InputError`: fewer pixels than tiles."""
    edges(min(dataset.shape[1:]), factor)
    members = [len(dataset.train.members(label)) for label in range(len(counts))]
    label = min(range(len(counts)), key=lambda c: members[c] / counts[c])
    there, count = members[label], counts[label]
    if there < factor**2 * count:
        ipc, largest = there // factor**2, math.isqrt(there // count)
        smaller = f"{option('ipc', ipc)} or factor={largest}" if ipc else f"factor={largest}"
        raise NoRoomError(
            f"class '{dataset.classes[label]}' has {there} training images, but factor={factor} at {count} images per "
            f"class needs {factor**2 * count}: {smaller} would fit"
        )
