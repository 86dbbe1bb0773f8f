"""What a selection returns: positions of training images, each once, and of each class the number that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.data.dataset import Dataset
from refluence.errors import InputError


def check_chosen(name: str, positions: object, counts: Sequence[int], dataset: Dataset) -> None:
    """`InputError` for anything but positions `(M,)` in `dataset.train` with `counts[class]` of each class, or all it has.

    All of the training split is right too, whatever the counts.
    """
    train, expected = dataset.train, "expected positions (M,) in dataset.train, whole numbers"
    if not isinstance(positions, Tensor):
        raise InputError(f"the selection '{name}' returned a {type(positions).__name__}: {expected} as a tensor")
    if positions.ndim != 1 or positions.dtype not in (torch.int64, torch.int32):
        kind = f"{str(positions.dtype).removeprefix('torch.')} {tuple(positions.shape)}"
        raise InputError(f"the selection '{name}' returned a tensor {kind}: {expected}")
    if outside := [p for p in positions.tolist() if not 0 <= p < len(train)]:
        raise InputError(f"the selection '{name}' returned the position {outside[0]}: train has 0 … {len(train) - 1}")
    if (times := torch.bincount(positions)).numel() and times.max() > 1:
        raise InputError(f"the selection '{name}' returned the position {int(times.argmax())} {int(times.max())} times")
    if len(positions) == len(train):
        return
    found = torch.bincount(train.labels[positions], minlength=len(counts)).tolist()
    for label, (here, asked) in enumerate(zip(found, counts, strict=True)):
        if here != (right := min(asked, len(train.members(label)))):
            raise InputError(
                f"the selection '{name}' returned {here} images of class '{dataset.classes[label]}': {right} are asked for"
            )
