"""Whether the tensors of a distilled set agree with its card; what does not is one line that says what would be right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from refluence.errors import InputError
from refluence.files import Json


def check(
    where: Path,
    tensors: Mapping[str, Tensor],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    facts: Mapping[str, object],
) -> None:
    """Names, shapes, types and ranges of the tensors agree with the card (`facts`: its factor and learning rate)."""
    images, labels = tensors.get("images"), tensors.get("labels")
    if images is None or labels is None:
        raise InputError(f"{where} holds {', '.join(tensors) or 'nothing'}: expected images and labels")
    if images.ndim != 4 or labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise InputError(
            f"{where}: images {tuple(images.shape)} and labels {tuple(labels.shape)} {labels.dtype} do not fit: "
            "expected (M, C, H, W) and (M,) int64"
        )
    if not len(mean) == len(std) == images.shape[1]:
        raise InputError(f"{where}: {images.shape[1]} channels, but {len(mean)} means and {len(std)} stds")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(f"{where}: labels run from {labels.min()} to {labels.max()}, but there are {classes} classes")
    if not torch.isfinite(images).all():
        raise InputError(f"{where}: {int((~torch.isfinite(images)).sum())} pixels are not finite numbers")
    check_learned(where, tensors, classes, facts)


def check_card(path: Path, card: Json) -> None:
    """Types of what every reader takes from a card, which people write and change by hand."""
    uses = card.get("test_uses", 0)
    for key, fits, what in (
        ("classes", lambda value: isinstance(value, str), "names"),
        ("mean", _is_finite, "finite numbers"),
        ("std", lambda value: _is_finite(value) and value >= 0, "finite numbers, 0 or more"),
    ):
        if not isinstance(card[key], list) or not all(map(fits, card[key])):
            raise InputError(f"{path}: {key} is {card[key]!r}: expected a list of {what}")
    if not isinstance(uses, int) or uses < 0:
        raise InputError(f"{path}: test_uses is {uses!r}: expected a whole number, 0 or more")


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and math.isfinite(value)


def check_learned(where: Path, tensors: Mapping[str, Tensor], classes: int, facts: Mapping[str, object]) -> None:
    """The optional parts: soft labels, stages, factor, learning rate."""
    count, soft, stage = len(tensors["labels"]), tensors.get("soft"), tensors.get("stage")
    factor, lr, side = facts.get("factor", 1), facts.get("lr"), min(tensors["images"].shape[-2:])
    if soft is not None:
        if tuple(soft.shape) != (count, classes) or soft.dtype != torch.float32:
            raise InputError(f"{where}: soft labels {tuple(soft.shape)} {soft.dtype}: expected {(count, classes)} float32")
        if not (torch.isfinite(soft).all() and (soft >= 0).all() and ((soft.sum(1) - 1).abs() < 1e-3).all()):
            raise InputError(f"{where}: soft labels are no probabilities: each row must be at least 0 and sum to 1")
    if stage is not None and (tuple(stage.shape) != (count,) or stage.dtype != torch.int64 or bool((stage < 0).any())):
        raise InputError(f"{where}: stages {tuple(stage.shape)} {stage.dtype}: expected {(count,)} int64, from 0 on")
    if not isinstance(factor, int) or not 1 <= factor <= side:
        raise InputError(f"{where}: factor is {factor}: expected a whole number from 1 to the side of the images, {side}")
    if lr is not None and not (_is_finite(lr) and lr > 0):
        raise InputError(f"{where}: the learned learning rate is {lr}: expected a finite number above 0")
