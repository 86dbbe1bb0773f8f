"""Initial weights drawn from a generator.

PyTorch's default   uniform in ±1/sqrt(fan-in), biases too (Kaiming uniform, a = sqrt 5); norms at one and zero
He, fan-out         convolutions normal with standard deviation sqrt(2 / (k k O)), their biases, linear layers and norms as
                    above (arXiv 1502.01852; IDC's code for its ResNets)
zero biases         the same, biases of convolutions and linear layers at zero (wide ResNets)
small head          the same again, linear layers normal with standard deviation .01 (VGG and MobileNetV2 for small images)
"""

from __future__ import annotations

import math

import torch
from torch import nn


@torch.no_grad()
def initialise(net: nn.Module, generator: torch.Generator) -> nn.Module:
    """PyTorch's default initialisation, in place."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            bound = 1 / math.sqrt(fan_in)
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        else:
            for name in ("reset_running_stats", "reset_parameters"):
                if callable(reset := getattr(module, name, None)):
                    reset()
    return net


@torch.no_grad()
def he(net: nn.Module, generator: torch.Generator) -> nn.Module:
    """He initialisation of the convolutions by fan-out, in place."""
    initialise(net, generator)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            outputs, positions = len(module.weight), module.weight[0, 0].numel()
            module.weight.normal_(0, math.sqrt(2 / (positions * outputs)), generator=generator)
    return net


@torch.no_grad()
def he_zero_biases(net: nn.Module, generator: torch.Generator) -> nn.Module:
    """As `he`, with the biases of convolutions and linear layers at zero."""
    for module in he(net, generator).modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            module.bias.zero_()
    return net


@torch.no_grad()
def he_small_head(net: nn.Module, generator: torch.Generator) -> nn.Module:
    """As `he_zero_biases`, with linear layers normal with standard deviation .01."""
    for module in he_zero_biases(net, generator).modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0, 0.01, generator=generator)
    return net
