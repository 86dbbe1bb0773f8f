"""The data that a mean over samples runs over: re-iterable batches (x, y) or (x, y, w), cut into passes that fit memory.

x `(n, ...)`, y a tensor or a tuple of tensors of n samples, w `(n,)` sample weights (none: ones). Batches may differ in
size. Means divide by N, the number of samples, not by the sum of w.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from refluence.errors import InputError
from refluence.influence.losses import take
from refluence.influence.watching import check_frozen
from refluence.matching.statistics import Batches, Targets

NUMBERS, LEAST, MOST = 2**18, 64, 256  # of input a pass, in samples at least and at most: what stays in a CPU's cache
RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
ACCELERATOR = 8  # times as many elsewhere
LARGE, ROOM = 3 * 128 * 128, 3 * 2**18  # beyond so many numbers a sample (128 px), so many a pass (5 of 224 px) on the CPU
WIDE = 6 * 2**20  # numbers of one layer's input in a pass (24 MiB): pages of larger tensors are given back and taken again
CHUNK = 64  # samples that are differentiated at once


@overload
def passes(
    batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]: ...
@overload
def passes(batches: Batches, device: torch.device) -> Iterator[tuple[Tensor, Targets, Tensor | None]]: ...
def passes(batches: Batches, device: torch.device) -> Iterator[tuple[Tensor, Targets, Tensor | None]]:
    """Every batch as (x, y, w or None) on `device`, in pieces of 64 to 256 samples by their size (CPU)."""
    if not isinstance(batches, Iterable):
        kind = type(batches).__name__
        raise InputError(f"a {kind} holds no batches: give a list of (x, y), such as [(images, labels)], or a DataLoader")
    if iter(batches) is batches:
        raise InputError("batches can be read only once, and every product reads them again: pass a list, not a generator")
    check_order(batches)
    empty = True
    for batch in batches:
        x, y, w = _unpack(batch)
        size = min(MOST, max(at_once(x, LEAST), NUMBERS // max(1, x[:1].numel()))) * (
            1 if device.type == "cpu" else ACCELERATOR
        )
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            empty = False
            yield on(x[part], device), on(take(y, part), device), None if w is None else on(w[part], device)
    if empty:
        raise InputError("no samples: the batches are empty")


def at_once(x: Tensor, most: int = CHUNK, widest: int = 0) -> int:
    """How many samples of x `(B, ...)` a pass takes: `most`, on the CPU fewer of large images and in wide layers.

    `widest`: numbers of a sample in the layer that sees most of them, where that is known.
    """
    if x.device.type != "cpu":
        return most
    each = x[:1].numel()
    most = most if each <= LARGE else max(1, ROOM // each)
    while most > 1 and most * widest > WIDE:
        most //= 2
    return most


def check_order(batches: Batches) -> None:
    """`InputError` for a `DataLoader` that shuffles: every pass would have another order, and a score no position."""
    for sampler in (getattr(batches, "sampler", None), getattr(getattr(batches, "batch_sampler", None), "sampler", None)):
        if isinstance(sampler, RANDOM) or getattr(sampler, "shuffle", False) is True:
            raise InputError(
                "the batches come in another order at every pass, and a score belongs to a position: "
                f"give the {type(batches).__name__} shuffle=False"
            )


def check_tensors(x: object, y: object) -> None:
    """`InputError` for samples or targets that are no tensors."""
    for name, part in (("x", x), ("y", y)):
        for each in part if name == "y" and isinstance(part, (tuple, list)) and part else [part]:
            if not isinstance(each, Tensor):
                raise InputError(f"{name} is a {type(each).__name__}: give a tensor, torch.as_tensor({name})")


def check_fixed(model: nn.Module) -> None:
    """Raise `InputError` when the model would give a sample another loss at another time or in another batch."""
    if torch.is_inference_mode_enabled() or any(p.is_inference() for p in model.parameters()):
        raise InputError("under torch.inference_mode() nothing can be differentiated: use torch.no_grad() there instead")
    for label, module in model.named_modules():
        check_frozen(label, module)
        if isinstance(module, _DropoutNd) and module.training and module.p > 0:
            raise InputError(f"layer '{label}' drops units at random: call model.eval() first")


def _unpack(batch: object) -> tuple[Tensor, Targets, Tensor | None]:
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        raise InputError(f"a batch must be (x, y) or (x, y, w), got {_what(batch)}")
    x, y, w = (*batch, None) if len(batch) == 2 else batch
    check_tensors(x, y)
    for name, part in (("y", y), ("w", w)):
        for t in part if isinstance(part, (tuple, list)) else [part]:
            if t is not None and len(t) != len(x):
                raise InputError(f"a batch of {len(x)} samples needs as many in {name}, got {len(t)}")
    if w is not None and w.shape != (len(x),):
        raise InputError(f"sample weights must have the shape ({len(x)},), got {tuple(w.shape)}")
    return x, y, w


def _what(batch: object) -> str:
    return f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__


@overload
def on(t: Tensor, device: torch.device) -> Tensor: ...
@overload
def on(t: Targets, device: torch.device) -> Targets: ...
def on(t: Targets, device: torch.device) -> Targets:
    """A tensor, or every tensor of a tuple, on a device."""
    return tuple(part.to(device) for part in t) if isinstance(t, (tuple, list)) else t.to(device)
