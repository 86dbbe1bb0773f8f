"""VGG for small images (Simonyan & Zisserman 2014, arXiv 1409.1556, in the form of CRD's code, arXiv 1910.10699): five blocks
of [3x3 convolution - norm - relu], 2x2 max-pools between them, the global average (the embedding), one linear layer.

    name      convolutions a block
    vgg8      1, 1, 1, 1, 1
    vgg11     1, 1, 2, 2, 2
    vgg13     2, 2, 2, 2, 2
    vgg16     2, 2, 3, 3, 3
    vgg19     2, 2, 4, 4, 4

Channels are `width` x (1, 2, 4, 8, 8), 64 as published. The pool before the last block is for images of 64 pixels, there and
here (and of more, ours). Convolutions have a bias, beside a norm too. Initialised as there: He, the linear layer normal with
standard deviation .01, biases 0.
"""

from __future__ import annotations

from torch import nn

from refluence.models.averaged import Averaged
from refluence.models.maps import Size, check_maps
from refluence.models.norms import norm_layer

VGGS = {
    "vgg8": (1, 1, 1, 1, 1),
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
TIMES = (1, 2, 4, 8, 8)
LARGE = 64  # pixels from which four pools fit


class VGG(Averaged):
    """`(B, C, H, W)` images to `(B, classes)` logits; `features` gives the embedding `(B, 8 width)`."""

    def __init__(self, name: str, channels: int, size: tuple[int, int], classes: int, *, width: int, norm: str):
        super().__init__()
        check_size(name, size, norm)
        layers: list[nn.Module] = []
        inputs = channels
        for block, (repeats, times) in enumerate(zip(VGGS[name], TIMES, strict=True)):
            if 0 < block <= _pools(size):
                layers.append(nn.MaxPool2d(2))
            for _ in range(repeats):
                layers += [nn.Conv2d(inputs, width * times, 3, padding=1), norm_layer(norm, width * times), nn.ReLU()]
                inputs = width * times
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)


def check_size(name: str, size: tuple[int, int], norm: str) -> None:
    """`InputError` for images and norms that the network cannot take."""

    def last_map(side: Size) -> Size:
        height, width = (s // 2 ** _pools(side) for s in side)
        return height, width

    check_maps(name, size, norm, last_map)


def _pools(size: Size) -> int:
    return 4 if min(size) >= LARGE else 3
