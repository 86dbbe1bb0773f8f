"""Wide residual networks `wrn-D-K` (Zagoruyko & Komodakis 2016, arXiv 1605.07146): D = 6 n + 4 layers, K times as wide.

    block(x) = shortcut(x or h) + conv3(relu(norm(conv3(h)))),     h = relu(norm(x))

A stem of 16 channels, three stages of n blocks with 16 K, 32 K and 64 K channels, the second and third with a stride of 2.
Where a block changes its map, its shortcut is a 1x1 convolution of h; elsewhere it is x itself. Then norm, relu, the global
average (the embedding) and a linear layer. He initialisation, the last bias 0. No dropout.
"""

from __future__ import annotations

import re

from torch import Tensor, nn
from torch.nn.functional import relu

from refluence.errors import InputError
from refluence.models.averaged import Averaged
from refluence.models.maps import check_maps, strided
from refluence.models.norms import norm_layer
from refluence.models.resnet import conv

NAME = re.compile(r"wrn-([1-9]\d{0,3})-([1-9]\d{0,2})")
STEM, STAGES = 16, (1, 2, 4)


class PreBlock(nn.Module):
    """`(B, I, H, W)` to `(B, O, H', W')`: norms come before convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str):
        super().__init__()
        self.norm1, self.conv1 = norm_layer(norm, inputs), conv(inputs, outputs, 3, stride, norm)
        self.norm2, self.conv2 = norm_layer(norm, outputs), conv(outputs, outputs, 3, 1, norm)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else conv(inputs, outputs, 1, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        h = relu(self.norm1(x))
        changed = self.conv2(relu(self.norm2(self.conv1(h))))
        return changed + (x if self.shortcut is None else self.shortcut(h))


class WideResNet(Averaged):
    """`(B, C, H, W)` images to `(B, classes)` logits; `features` gives the embedding `(B, 4 width)`.

    `width`: channels of the first stage, 16 K as published.
    """

    def __init__(self, name: str, channels: int, size: tuple[int, int], classes: int, *, width: int, norm: str):
        super().__init__()
        check_size(name, size, norm)
        layers: list[nn.Module] = [conv(channels, STEM, 3, 1, norm)]
        inputs = STEM
        for stage, times in enumerate(STAGES):
            for block in range((plan(name)[0] - 4) // 6):
                layers.append(PreBlock(inputs, width * times, 2 if stage > 0 and block == 0 else 1, norm))
                inputs = width * times
        self.body = nn.Sequential(*layers, norm_layer(norm, inputs), nn.ReLU())
        self.classifier = nn.Linear(inputs, classes)


def plan(name: str) -> tuple[int, int]:
    """Depth and widening factor of `wrn-D-K`; `InputError` for a depth that is not 6 n + 4."""
    found = NAME.fullmatch(name)
    assert found is not None, "a name of this family"
    depth, factor = int(found[1]), int(found[2])
    if depth < 10 or (depth - 4) % 6:
        near = max(10, depth - (depth - 4) % 6)
        raise InputError(f"{name}: a wide ResNet has 6 n + 4 layers, so {depth} is none: wrn-{near}-{factor} would be right")
    return depth, factor


def check_size(name: str, size: tuple[int, int], norm: str) -> None:
    """`InputError` for a depth, images or norms that the network cannot have."""
    plan(name)
    check_maps(name, size, norm, lambda side: strided(side, 2))
