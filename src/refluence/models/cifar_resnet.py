"""The ResNets of CIFAR (He et al. 2015, arXiv 1512.03385, sec. 4.2), and the four times wider ones of the distillation
literature (CRD, arXiv 1910.10699, its code): 6 n + 2 layers in three stages of n blocks.

    block(x) = relu( norm(conv3(relu(norm(conv3(x))))) + shortcut(x) )

    name                                              stem    stages
    resnet8, 14, 20, 32, 44, 56, 110                  16      16, 32, 64
    resnet8x4, resnet32x4                             32      64, 128, 256

The second and third stage begin with a stride of 2. Where a block changes its map, its shortcut is a 1x1 convolution and a
norm. Then the global average (the embedding) and a linear layer. He initialisation.
"""

from __future__ import annotations

from torch import nn

from refluence.models.averaged import Averaged
from refluence.models.maps import check_maps, strided
from refluence.models.norms import norm_layer
from refluence.models.resnet import Block, conv

STAGES = (1, 2, 4)
DEPTHS = {"resnet8": 8, "resnet14": 14, "resnet20": 20, "resnet32": 32, "resnet44": 44, "resnet56": 56, "resnet110": 110}
WIDE = {"resnet8x4": 8, "resnet32x4": 32}


class CifarResNet(Averaged):
    """`(B, C, H, W)` images to `(B, classes)` logits; `features` gives the embedding `(B, 4 width)`.

    `width`: channels of the first stage; the stem has as many, or half of them in the wide ones.
    """

    def __init__(self, name: str, channels: int, size: tuple[int, int], classes: int, *, width: int, norm: str):
        super().__init__()
        check_size(name, size, norm)
        inputs = max(1, width // 2) if name in WIDE else width
        layers: list[nn.Module] = [conv(channels, inputs, 3, 1, norm), norm_layer(norm, inputs), nn.ReLU()]
        for stage, times in enumerate(STAGES):
            for block in range(({**DEPTHS, **WIDE}[name] - 2) // 6):
                layers.append(Block(inputs, width * times, stage > 0 and block == 0, False, norm))
                inputs = width * times
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)


def check_size(name: str, size: tuple[int, int], norm: str) -> None:
    """`InputError` for images and norms that the network cannot take."""
    check_maps(name, size, norm, lambda side: strided(side, 2))
