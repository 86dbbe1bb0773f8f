"""Whether the tensors of a distilled set agree with its card; what does not is one line that says what would be right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refluence.errors import InputError


def check(where: Path, tensors: Mapping[str, Tensor], classes: int, mean, std, facts: Mapping[str, Any]) -> None:
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


def check_learned(where: Path, tensors: Mapping[str, Tensor], classes: int, facts: Mapping[str, Any]) -> None:
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
    if lr is not None and not 0 < lr < math.inf:
        raise InputError(f"{where}: the learned learning rate is {lr}: expected a finite number above 0")
