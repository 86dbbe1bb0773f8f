"""A network without what it has for other machines (wrappers for several devices, compilation, other kinds of floats), and
without dropout."""

from __future__ import annotations

import torch
from torch import nn

from refluence.errors import option

WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
"""By name, since the import of the last one takes seconds: it is what `torch.compile` gives."""

RANDOM = {"StochasticDepth": "p", "DropPath": "drop_prob"}
"""Layers of torchvision and of timm that leave out whole branches, and the name of their rate."""


def plain(net: nn.Module) -> tuple[nn.Module, list[str]]:
    """The network with its wrappers taken off, at any depth, and its parameters as float32; and what was done, in words.

    Influence asks each layer for derivatives of several orders, one image at a time, which neither wrappers nor half
    precision give. The function stays what it is but for rounding.
    """
    off: dict[str, None] = {}
    whole = nn.ModuleDict({"net": net})
    for module in list(whole.modules()):
        if getattr(module, "_compiled_call_impl", None) is not None:  # module.compile()
            off["compile()"] = module._compiled_call_impl = None
        for key, child in module._modules.items():
            while (inside := WRAPPERS.get(type(child).__name__)) is not None:
                off["torch.compile" if inside == "_orig_mod" else type(child).__name__] = None
                module._modules[key] = child = getattr(child, inside)
    net = whole["net"]
    words = [f"{' and '.join(off)} left off"] if off else []
    if places := {p.device.type for p in net.parameters()} - {"cpu", "meta"}:
        words.append(f"brought here from {' and '.join(sorted(places))} ({option('device')} says where it runs)")
        net = net.cpu()
    kinds = {p.dtype for p in net.parameters() if p.is_floating_point()} - {torch.float32}
    if kinds:
        names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        words.append(f"its {names} parameters are used as float32")
        net = net.float()
    return net, words


def without_dropout(net: nn.Module) -> nn.Module:
    """The network whose dropout and stochastic depth are off, in place: an image has one gradient to match and to score."""
    for module in net.modules():
        kind = type(module).__name__
        if isinstance(module, nn.modules.dropout._DropoutNd) or kind in RANDOM:
            setattr(module, RANDOM.get(kind, "p"), 0.0)
    return net
