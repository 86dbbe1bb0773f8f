"""MobileNetV2 for small images (Sandler et al. 2018, arXiv 1801.04381), in the form and at the width of CRD's code
(arXiv 1910.10699): half of the published channels.

    block(x) = [x +] norm(conv1(relu(norm(depthwise3(relu(norm(conv1(x))))))))          inside six times wider (the first: once)

    stem      16 channels, stride 2                   these are the channels of width 16, half of what is published
    stages    blocks x channels (stride)              1 x 8, 2 x 12, 3 x 16 (2), 4 x 32 (2), 3 x 48, 3 x 80 (2), 1 x 160
    head      1x1 convolution to 1280 channels, norm, relu, global average (the embedding), one linear layer

Against the form for ImageNet the second stage has no stride, so that 32 pixels leave a 2x2 map; relu stands for relu6.
Initialised as there: He by fan-out, the linear layer normal with standard deviation .01, biases 0.
"""

from __future__ import annotations

from torch import Tensor, nn

from refluence.models.averaged import Averaged
from refluence.models.maps import check_maps, strided
from refluence.models.norms import norm_layer

STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Times wider inside, channels where the stem has 32, blocks, stride of the first."""
STEM, HEAD, HALVINGS = 32, 1280, 4


class Inverted(nn.Module):
    """`(B, I, H, W)` to `(B, O, H', W')`, wide inside and narrow outside."""

    def __init__(self, inputs: int, outputs: int, stride: int, times: int, norm: str):
        super().__init__()
        inside = inputs * times
        self.body = nn.Sequential(
            *_layers(inputs, inside, 1, 1, 1, norm),
            *_layers(inside, inside, 3, stride, inside, norm),
            *_layers(inside, outputs, 1, 1, 1, norm)[:-1],
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV2(Averaged):
    """`(B, C, H, W)` images to `(B, classes)` logits; `features` gives the embedding `(B, 1280)`.

    `width`: channels of the stem, 16 in CRD's form. Those of a stage are in proportion, rounded down, at least 1.
    """

    def __init__(self, name: str, channels: int, size: tuple[int, int], classes: int, *, width: int, norm: str):
        super().__init__()
        check_size(name, size, norm)
        layers: list[nn.Module] = _layers(channels, width, 3, 2, 1, norm)
        inputs = width
        for times, published, blocks, stride in STAGES:
            outputs = max(1, published * width // STEM)
            for block in range(blocks):
                layers.append(Inverted(inputs, outputs, stride if block == 0 else 1, times, norm))
                inputs = outputs
        head = max(HEAD, HEAD * width // STEM)
        self.body = nn.Sequential(*layers, *_layers(inputs, head, 1, 1, 1, norm))
        self.classifier = nn.Linear(head, classes)


def check_size(name: str, size: tuple[int, int], norm: str) -> None:
    """`InputError` for images and norms that the network cannot take."""
    check_maps(name, size, norm, lambda side: strided(side, HALVINGS))


def _layers(inputs: int, outputs: int, kernel: int, stride: int, groups: int, norm: str) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=norm == "none")
    return [convolution, norm_layer(norm, outputs), nn.ReLU()]
