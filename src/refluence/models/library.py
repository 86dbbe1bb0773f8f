"""Any classifier of torchvision or timm, untrained: `torchvision:NAME`, `timm:NAME`.

    logits = classifier(features(x))        classifier: the library's last linear layer, features: all before it

The weights are the library's own initialisation, drawn from a seed of our generator with the global state put back. Ours:
dropout and stochastic depth are off, so that an image has one gradient to match and to score; auxiliary classifiers are left
out; grey images are repeated to the three channels that torchvision's networks take (timm is asked for the channels); a
network for one fixed size is asked for the size of the images.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from refluence.errors import InputError, option
from refluence.models.plain import without_dropout
from refluence.randomness import drawn_so_far, seeded

LIBRARIES = ("torchvision", "timm")
SEEDS = 2**62
AUXILIARY = ("googlenet", "inception_v3")
KINDS = {"batch": _BatchNorm, "instance": _InstanceNorm, "layer": nn.LayerNorm, "group": nn.GroupNorm}


class Library(nn.Module):
    """`(B, C, H, W)` images to `(B, classes)` logits; `features` gives the embedding `(B, F)`."""

    def __init__(self, body: nn.Module, classifier: nn.Linear, repeat: int = 1, place: str = "classifier"):
        super().__init__()
        self.body, self.classifier, self.repeat, self.place = body, classifier, repeat, place
        self.settings: dict[str, Any] = {}  # of trained weights, as the library has them: mean, std, input_size, …

    def features(self, x: Tensor) -> Tensor:
        """Embedding `(B, F)` before the classifier."""
        return self.body(x.repeat(1, self.repeat, 1, 1) if self.repeat > 1 else x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(B, classes)`."""
        return self.classifier(self.features(x))

    def library_names(self) -> dict[str, str]:
        """What the library's own network calls each tensor of this one's `state_dict`; `place` is its last linear layer."""
        heads = {name: f"{self.place}.{name.partition('.')[2]}" for name in self.state_dict() if name.startswith("classifier.")}
        return {name: heads.get(name, name.removeprefix("body.")) for name in self.state_dict()}


def is_library(name: str) -> bool:
    """Whether a name is `torchvision:…` or `timm:…`."""
    return name.partition(":")[0] in LIBRARIES and ":" in name


def build_library(name: str, shape: tuple[int, int, int], classes: int, generator: torch.Generator) -> Library:
    """The network for images `shape` (C, H, W), in training mode. Errors: `InputError`, as `own_width_and_norm`."""
    seed = int(torch.randint(SEEDS, (), generator=generator))
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _wrapped(name, _made(name, shape, classes), shape, classes)


@lru_cache  # what never changes, and a whole network to find it
def own_width_and_norm(name: str, shape: tuple[int, int, int], classes: int) -> tuple[int, str]:
    """The length F of the network's embedding and the kinds of its norm layers, after it was tried on two images of this shape.

    Errors: `InputError` for a library that is not there, an unknown name, a network that does not take such images or does
    not end in a linear layer.
    """
    net, sizes = build_library(name, shape, classes, torch.Generator().manual_seed(0)), " x ".join(map(str, shape))
    with seeded(0), torch.no_grad():
        before = drawn_so_far()
        try:
            logits = net(torch.zeros(2, *shape))  # in training mode, which has the more to go wrong
        except Exception as error:
            resized = f"{option('image_size')} resizes them"
            raise InputError(f"{name} does not take images of {sizes} ({reason(error)}); {resized}") from None
        if drawn_so_far() != before:
            raise InputError(f"{name} draws random numbers while it trains, beside dropout: no one gradient; choose another")
    if tuple(logits.shape) != (2, classes):
        raise InputError(f"{name} gives {tuple(logits.shape)} for two images: expected logits (2, {classes})")
    return net.classifier.in_features, norm_of(net)


def timm_network(name: str, channels: int, settings: Mapping[str, object]) -> Library:
    """A trained network of timm by its name, with as many classes as it knows, in evaluation mode.

    `settings`: of `timm.create_model`. For other than three channels timm changes the first layer: for grey ones it is summed.
    """
    net = _imported("timm", name).create_model(name.partition(":")[2], pretrained=True, in_chans=channels, **settings)
    wrapped = _wrapped(name, net, (channels, 0, 0), net.num_classes).eval()
    wrapped.settings = dict(net.pretrained_cfg)
    return wrapped


def timm_settings(name: str) -> dict[str, Any]:
    """What timm knows of the weights that it has for a network: `hf_hub_id` or `url`, none where it has no weights.

    `InputError` for an unknown name.
    """
    timm, own = _imported("timm", name), name.partition(":")[2]
    if not timm.is_model(own):
        raise InputError(_unknown(name, own, timm.list_models(), "timm.list_models"))
    known = timm.get_pretrained_cfg(own)
    return {} if known is None else known.to_dict()


def norm_of(net: nn.Module) -> str:
    """`batch`, `layer`, … by its norm layers, `batch+layer` where it has several kinds, `none` where it has none."""
    found = []
    for module in net.modules():
        known = next((name for name, kind in KINDS.items() if isinstance(module, kind)), None)
        if known or (re.search(r"Norm(\dd)?$", type(module).__name__) and not list(module.children())):  # no block with one
            found.append(known or type(module).__name__)
    return "+".join(dict.fromkeys(found)) or "none"


def _made(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The library's network, as it comes."""
    library, _, own = name.partition(":")
    try:
        return (_torchvision if library == "torchvision" else _timm)(own, name, shape, classes)
    except InputError:
        raise
    except Exception as error:
        sizes = " x ".join(map(str, shape))
        raise InputError(f"{name} cannot be made for images of {sizes} ({reason(error)})") from None


def _torchvision(own: str, name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    models = _imported("torchvision", name).models
    if own not in (known := models.list_models(module=models)):
        raise InputError(_unknown(name, own, known, "torchvision.models.list_models"))
    if shape[0] not in (1, 3):
        raise InputError(f"{name} takes images of 3 channels, or grey ones: these have {shape[0]}")
    more: dict[str, object] = {"aux_logits": False, "init_weights": True} if own in AUXILIARY else {}
    if own.startswith("vit"):
        more = {"image_size": shape[1]}
    if own.startswith("maxvit"):
        more = {"input_size": shape[1:]}
    return models.get_model(own, weights=None, num_classes=classes, **more)


def _timm(own: str, name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    timm = _imported("timm", name)
    if not timm.is_model(own):
        raise InputError(_unknown(name, own, timm.list_models(), "timm.list_models"))
    settings = timm.get_pretrained_cfg(own)
    more = {"img_size": shape[1:]} if settings is not None and settings.fixed_input_size else {}
    return timm.create_model(own, pretrained=False, num_classes=classes, in_chans=shape[0], **more)


def _wrapped(name: str, net: nn.Module, shape: tuple[int, int, int], classes: int) -> Library:
    """The network cut before its last linear layer, without layers that draw random numbers."""
    places = [key for key, module in net.named_modules() if isinstance(module, nn.Linear) and module.out_features == classes]
    classifier = net.get_submodule(places[-1]) if places else None
    if not isinstance(classifier, nn.Linear) or getattr(net, "get_classifier", lambda: classifier)() is not classifier:
        raise InputError(f"{name} does not end in one linear layer, so it has no embedding: choose another network")
    net.set_submodule(places[-1], nn.Identity())
    without_dropout(net)
    repeat = 3 if name.startswith("torchvision:") and shape[0] == 1 else 1
    return Library(net, classifier, repeat, places[-1]).train()


def _imported(library: str, name: str) -> ModuleType:
    try:
        return import_module(library)
    except ImportError:
        raise InputError(f"{name} needs {library}, which is not installed: pip install {library}") from None


def _unknown(name: str, own: str, known: list[str], listing: str) -> str:
    close = difflib.get_close_matches(own, known, n=3)
    return f"unknown model '{name}': " + (f"did you mean {', '.join(close)}?" if close else f"{listing}() has the names")


def reason(error: BaseException) -> str:
    """The kind of an exception and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
