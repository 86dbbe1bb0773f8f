"""ResNet-10, ResNet-18 and ResNetAP-10, as the dataset-distillation literature has them (IDC, arXiv 2205.14959, its code).

    block(x) = relu( norm(conv3(h)) + shortcut(x) ),   h = relu(norm(conv3(x)))             1, 1, 1, 1 or 2, 2, 2, 2 of them

Four stages of `width` x (1, 2, 4, 8) channels; from the second on, the first block halves the map. ResNet: its first
convolution and that of its shortcut have stride 2. ResNetAP: both have stride 1, and a 2x2 average pool follows. Then the
global average (the embedding) and a linear layer. The stem follows the shorter side of the image:

    side        ResNet                                  ResNetAP
    up to 64    3x3 convolution                         the same                                (the form for CIFAR)
    up to 128   3x3 convolution, 3x3 max-pool by 2      3x3 convolution, 2x2 average pool
    larger      7x7 by 2, 3x3 max-pool by 2             7x7 convolution, 4x4 average pool       (the form for ImageNet)

Convolutions have a bias where there is no norm. He initialisation as in that code (normal, standard deviation
sqrt(2 / (k k O))). Ours: the refusal of maps of one pixel under instance norm, which would make every output the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import relu

from refluence.models.averaged import Averaged
from refluence.models.maps import check_maps
from refluence.models.norms import norm_layer
from refluence.models.pooling import Halve

STAGES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Kind:
    """Blocks a stage, whether halving is by average pools, and the norm that its publications use."""

    blocks: int
    pooled: bool
    norm: str


RESNETS = {
    "resnet10": Kind(1, False, "batch"),
    "resnet18": Kind(2, False, "batch"),
    "resnetap10": Kind(1, True, "instance"),
}


class Block(nn.Module):
    """`(B, I, H, W)` to `(B, O, H', W')`, halved where `halve`."""

    def __init__(self, inputs: int, outputs: int, halve: bool, pooled: bool, norm: str):
        super().__init__()
        stride = 2 if halve and not pooled else 1
        self.conv1, self.norm1 = conv(inputs, outputs, 3, stride, norm), norm_layer(norm, outputs)
        self.pool = Halve() if halve and pooled else nn.Identity()
        self.conv2, self.norm2 = conv(outputs, outputs, 3, 1, norm), norm_layer(norm, outputs)
        self.shortcut = nn.Sequential()
        if halve or inputs != outputs:
            pool = [Halve()] if halve and pooled else []
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride, norm), *pool, norm_layer(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        h = self.pool(relu(self.norm1(self.conv1(x))))
        return relu(self.norm2(self.conv2(h)) + self.shortcut(x))


class ResNet(Averaged):
    """`(B, C, H, W)` images to `(B, classes)` logits; `features` gives the embedding `(B, 8 width)`."""

    def __init__(self, name: str, channels: int, size: tuple[int, int], classes: int, *, width: int, norm: str):
        super().__init__()
        check_size(name, size, norm)
        kind = RESNETS[name]
        layers: list[nn.Module] = _stem(channels, width, min(size), kind.pooled, norm)
        inputs = width
        for stage, times in enumerate(STAGES):
            for block in range(kind.blocks):
                layers.append(Block(inputs, width * times, stage > 0 and block == 0, kind.pooled, norm))
                inputs = width * times
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)


def check_size(name: str, size: tuple[int, int], norm: str) -> None:
    """`InputError` where the last map would have no pixel, or one pixel under instance norm, and for layer norm."""
    check_maps(name, size, norm, lambda side: last_map(side, RESNETS[name].pooled))


def last_map(size: tuple[int, int], pooled: bool) -> tuple[int, int]:
    """Height and width of the last map: strides round up, average pools down."""
    side = min(size)
    factor = 8 * (1 if side <= 64 else 2 if side <= 128 else 4)  # halvings one by one or at once round to the same
    height, width = (s // factor if pooled else -(-s // factor) for s in size)
    return height, width


def _stem(channels: int, width: int, side: int, pooled: bool, norm: str) -> list[nn.Module]:
    large = side > 128
    first = conv(channels, width, 7 if large else 3, 2 if large and not pooled else 1, norm)
    pool = [] if side <= 64 else [nn.AvgPool2d(4 if large else 2) if pooled else nn.MaxPool2d(3, 2, 1)]
    return [first, norm_layer(norm, width), nn.ReLU(), *pool]


def conv(inputs: int, outputs: int, kernel: int, stride: int, norm: str) -> nn.Conv2d:
    """A convolution that keeps the map but for its stride, with a bias where no norm follows."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=norm == "none")
