"""ShuffleNet V1 (Zhang et al. 2017, arXiv 1707.01083, three groups) and V2 (Ma et al. 2018, arXiv 1807.11164), in the form for
small images of CRD's code (arXiv 1910.10699): a 1x1 stem of 24 channels, three stages that each halve the map, the global
average (the embedding), one linear layer.

    V1 unit    h = norm(gconv1(relu(norm(depthwise3(shuffle(relu(norm(gconv1(x)))))))))
               relu(h + x), or where it halves the map  relu([h, average pool(x)])
    V2 unit    x = [a, b];  shuffle([a, f(b)]),   f = relu norm conv1 · norm depthwise3 · relu norm conv1
               where it halves the map  shuffle([relu norm conv1 norm depthwise3 (x), f(x)])

    name           channels of the stages     units        before the average
    shufflenetv1   240, 480, 960              4, 8, 4
    shufflenetv2   116, 232, 464              4, 8, 4      1x1 convolution to 1024 channels, norm, relu

The first grouped convolution of V1 has one group. PyTorch's default initialisation, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from refluence.errors import InputError
from refluence.models.averaged import Averaged
from refluence.models.maps import check_maps, strided
from refluence.models.norms import norm_layer

STEM, UNITS, GROUPS, HEAD = 24, (4, 8, 4), 3, 1024


def shuffle(x: Tensor, groups: int) -> Tensor:
    """The channels of x `(B, C, H, W)` dealt out: each group of the next convolution gets some of every group."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class UnitV1(nn.Module):
    """`(B, I, H, W)` to `(B, O, H', W')`."""

    def __init__(self, inputs: int, outputs: int, halve: bool, norm: str):
        super().__init__()
        own = outputs - inputs if halve else outputs  # the others are the input's, pooled
        inside, self.groups, self.halve = own // 4, 1 if inputs == STEM else GROUPS, halve
        self.before = nn.Sequential(*_conv(inputs, inside, 1, 1, self.groups, norm), nn.ReLU())
        self.after = nn.Sequential(
            *_conv(inside, inside, 3, 2 if halve else 1, inside, norm), nn.ReLU(), *_conv(inside, own, 1, 1, GROUPS, norm)
        )

    def forward(self, x: Tensor) -> Tensor:
        """One unit."""
        h = self.after(shuffle(self.before(x), self.groups))
        return relu(torch.cat([h, avg_pool2d(x, 3, 2, 1)], 1) if self.halve else h + x)


class UnitV2(nn.Module):
    """`(B, I, H, W)` to `(B, O, H', W')`."""

    def __init__(self, inputs: int, outputs: int, halve: bool, norm: str):
        super().__init__()
        half, stride = outputs // 2, 2 if halve else 1
        entering = inputs if halve else half
        self.halve = halve
        self.right = nn.Sequential(
            *_conv(entering, half, 1, 1, 1, norm), nn.ReLU(),
            *_conv(half, half, 3, stride, half, norm), *_conv(half, half, 1, 1, 1, norm), nn.ReLU(),
        )  # fmt: skip
        left = [*_conv(inputs, inputs, 3, 2, inputs, norm), *_conv(inputs, half, 1, 1, 1, norm), nn.ReLU()] if halve else []
        self.left = nn.Sequential(*left)

    def forward(self, x: Tensor) -> Tensor:
        """One unit."""
        kept, changed = (x, x) if self.halve else x.chunk(2, 1)
        return shuffle(torch.cat([self.left(kept), self.right(changed)], 1), 2)


class ShuffleNet(Averaged):
    """`(B, C, H, W)` images to `(B, classes)` logits; `features` gives the embedding, `(B, 4 width)` of V1, `(B, 1024)` of V2.

    `width`: channels of the first stage; the others have twice and four times as many.
    """

    def __init__(self, name: str, channels: int, size: tuple[int, int], classes: int, *, width: int, norm: str):
        super().__init__()
        check_size(name, size, width, norm)
        first = name == "shufflenetv1"
        layers: list[nn.Module] = [*_conv(channels, STEM, 1, 1, 1, norm), nn.ReLU()]
        inputs = STEM
        for stage, units in enumerate(UNITS):
            for unit in range(units):
                layers.append((UnitV1 if first else UnitV2)(inputs, width * 2**stage, unit == 0, norm))
                inputs = width * 2**stage
        head = [] if first else [*_conv(inputs, HEAD, 1, 1, 1, norm), nn.ReLU()]
        self.body = nn.Sequential(*layers, *head)
        self.classifier = nn.Linear(inputs if first else HEAD, classes)


def check_size(name: str, size: tuple[int, int], width: int, norm: str) -> None:
    """`InputError` for images, widths and norms that the network cannot have."""
    unit, least = (4 * GROUPS, STEM + 4 * GROUPS) if name == "shufflenetv1" else (2, 2)
    if width % unit or width < least:
        right = max(least, width - width % unit)
        raise InputError(
            f"{name} of width {width} cannot be cut into its groups: width {right} would do (a multiple of {unit})"
        )
    check_maps(name, size, norm, lambda side: strided(side, 3))


def _conv(inputs: int, outputs: int, kernel: int, stride: int, groups: int, norm: str) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=norm == "none")
    return [convolution, norm_layer(norm, outputs)]
