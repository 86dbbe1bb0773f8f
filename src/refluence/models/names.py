"""The tensors of a file put in the order of a network whose names may differ.

Trained networks are wrapped (`torch.compile`, DataParallel, an averaged model, a trainer's own class), and each wrapper puts a
word before or into the names. What is the same name but for such words is the same tensor; nothing else is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.models.library import Library

WRAPPERS = {"_orig_mod", "module", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
COUNTERS = ("num_batches_tracked", "n_averaged", "total_ops", "total_params")  # that no output depends on
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # further heads of torchvision's networks, which only training uses


@dataclass(frozen=True)
class Fitted:
    """Tensors by the names of the network, and what was done to find them, in words."""

    tensors: dict[str, Tensor]
    remarks: list[str]


def fit(stored: Mapping[str, Tensor], net: nn.Module, classes: int, dropped: Mapping[str, str]) -> Fitted:
    """The stored tensor of every name in `net.state_dict()`. `dropped`: names left out of the file for tied ones in it.

    Errors: `InputError` for a tensor that is missing, has no place or another shape, for numbers that are no floats, and
    where the file holds several networks.
    """
    wanted = {name: tensor for name, tensor in net.state_dict().items() if isinstance(tensor, Tensor)}
    bare = _bare if len(set(map(_bare, wanted))) == len(wanted) else str
    have = _unique(stored, bare)
    have |= {bare(name): have[bare(kept)] for name, kept in dropped.items() if bare(kept) in have}
    names, prefix, whose = _naming(net, {name: bare(name) for name in wanted}, have)
    found, twins = {}, _twins(net)
    for key, tensor in wanted.items():
        place = next((prefix + names[n] for n in (key, *twins.get(key, ())) if prefix + names[n] in have), None)
        if place is not None:
            found[key] = _fitting(have[place], tensor, place, classes)
        elif tensor.is_floating_point():
            raise InputError(f"{prefix + names[key]} is missing there")
        else:
            found[key] = tensor  # a counter or a table of indices: the network's own
    for key, same in twins.items():
        if not torch.equal(found[key], found[same[0]]):
            raise InputError(f"{names[key]} and {names[same[0]]} are one tensor in this network, and differ there")
    over = _over(have.keys() - {prefix + name for name in names.values()}, prefix, whose)
    return Fitted(found, _remarks(stored, found, prefix, whose, over, bare))


def _bare(name: str) -> str:
    """A name without the words of wrappers."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS) or name


def _unique(stored: Mapping[str, Tensor], bare: Callable[[str], str]) -> dict[str, Tensor]:
    """The tensors by their bare names; `InputError` where two would have one name."""
    have: dict[str, str] = {}
    for name in stored:
        if (first := have.setdefault(bare(name), name)) != name:
            raise InputError(f"it holds several networks ({first} and {name}): keep the names of one")
    return {short: stored[name] for short, name in have.items()}


def _naming(net: nn.Module, own: dict[str, str], have: Iterable[str]) -> tuple[dict[str, str], str, str]:
    """What the file calls each tensor of the network after a prefix, that prefix, and whose names these are ("": its own).

    Of the network's own names and (for one of torchvision or timm) the library's, those that more tensors have.
    """
    schemes = [(own, "")]
    if isinstance(net, Library):
        schemes.append((net.library_names(), "the library's own network"))
    best: tuple[int, dict[str, str], str, str] = (-1, {}, "", "")
    for names, whose in schemes:
        counted = _prefixes(set(names.values()), have)
        prefix, most = max(counted.items(), key=lambda item: item[1], default=("", 0))
        several = [p or "nothing" for p, count in counted.items() if count == most > len(names) / 2]
        if len(several) > 1:
            raise InputError(f"it holds several networks (names begin with {' or '.join(several)}): keep the names of one")
        if most > best[0]:
            best = most, names, prefix, whose
    return best[1:]


def _prefixes(names: set[str], have: Iterable[str]) -> Counter[str]:
    """How many of `names` stand behind each prefix in the file."""
    counted: Counter[str] = Counter()
    for name in have:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in names:
                counted[".".join([*parts[:cut], ""])] += 1
    return counted


def _twins(net: nn.Module) -> dict[str, list[str]]:
    """The other names of each tensor that has several (tied weights)."""
    names: dict[int, list[str]] = {}
    for key, tensor in net.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(key)
    return {key: [n for n in same if n != key] for same in names.values() if len(same) > 1 for key in same}


def _fitting(tensor: Tensor, wanted: Tensor, place: str, classes: int) -> Tensor:
    """The tensor, if it can stand for `wanted`."""
    if tensor.shape != wanted.shape:
        raise InputError(
            f"{place} is {tuple(tensor.shape)} there, {tuple(wanted.shape)} in this network{_why(tensor, wanted, classes)}"
        )
    if wanted.is_floating_point() and not tensor.is_floating_point():
        raise InputError(f"{place} holds {_kind(tensor)} numbers (a quantised network?): floats are needed")
    return tensor


def _why(tensor: Tensor, wanted: Tensor, classes: int) -> str:
    """What the difference of two shapes may come from."""
    if tensor.ndim != wanted.ndim:
        return ""
    differ = [i for i, (a, b) in enumerate(zip(tensor.shape, wanted.shape, strict=True)) if a != b]
    if differ == [1] and tensor.ndim == 4:
        return f": it takes {tensor.shape[1]} channels, these images have {wanted.shape[1]}"
    if differ == [0] and tensor.ndim <= 2 and wanted.shape[0] == classes:
        return f": it knows {tensor.shape[0]} classes, these data have {classes}"
    return ""


def _over(names: Iterable[str], prefix: str, whose: str) -> list[str]:
    """The names in the file that have no place and need none; `InputError` for one that the network should have."""
    over = []
    for name in sorted(names):
        inside = name.removeprefix(prefix)
        if name.rpartition(".")[2] in COUNTERS:
            continue
        if name.startswith(prefix) and not (whose and inside.startswith(AUXILIARY)):
            raise InputError(f"this network has no {inside}")
        over.append(name)
    return over


def _remarks(
    stored: Iterable[str], found: dict[str, Tensor], prefix: str, whose: str, over: list[str], bare: Callable[[str], str]
) -> list[str]:
    """What was done, in words."""
    remarks = [f"names as in {whose}"] if whose else []
    words = dict.fromkeys(f"{part}." for name in stored if bare(name) != name for part in name.split(".") if part in WRAPPERS)
    if left := [*words, *([prefix] if prefix else [])]:
        remarks.append(f"left off its names: {', '.join(left)}")
    if over:
        tensors = "1 other tensor is" if len(over) == 1 else f"{len(over)} other tensors are"
        remarks.append(f"{tensors} passed over ({over[0]}{' …' * (len(over) > 1)})")
    if kinds := sorted({_kind(t) for t in found.values() if t.is_floating_point()} - {"float32"}):
        remarks.append(f"its {' and '.join(kinds)} numbers are used as float32")
    return remarks


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
