"""ConvNet-d: d x [3x3 convolution - norm - ReLU - 2x2 average pool], flatten, linear.

The network of the dataset-distillation literature (Zhao et al. 2020, arXiv 2006.05929).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from refluence.errors import InputError, option
from refluence.models.norms import norm_layer
from refluence.models.pooling import Halve
from refluence.options import NORMS


def default_depth(size: int) -> int:
    """Floor(log2(size/4)), at least 1 and at most 6: 3 at 32 px, 1 at 8 px."""
    return max(1, min(6, int(math.log2(max(size, 4) / 4))))


def check_depth(depth: int, channels: int, size: tuple[int, int]) -> None:
    """`InputError` where so many poolings leave no pixel of an image."""
    fits = int(math.log2(min(size) + 2 * (_first_padding(channels, size) - 1)))
    if fits < 1:
        raise InputError(
            f"images of {size[0]}x{size[1]} are too small for a ConvNet: {option('image_size', 2)} or more resizes them"
        )
    if not 1 <= depth <= fits:
        raise InputError(
            f"ConvNet depth {depth} does not fit a {size[0]}x{size[1]} image: 1 to {fits} would, "
            f"{default_depth(min(size))} is the default"
        )


def _first_padding(channels: int, size: tuple[int, int]) -> int:
    return 3 if channels == 1 and tuple(size) == (28, 28) else 1


class ConvNet(nn.Module):
    """`(B, C, H, W)` images to `(B, classes)` logits; `features` gives the flattened embedding `(B, F)`.

    A 28 x 28 grey image is padded to 32 x 32 by the first convolution, as in the literature.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        classes: int,
        *,
        width: int = 128,
        depth: int = 3,
        norm: str = "instance",
    ):
        super().__init__()
        if norm not in NORMS:
            raise InputError(f"unknown norm '{norm}': choose one of {', '.join(NORMS)}")
        check_depth(depth, channels, size)
        first_padding = _first_padding(channels, size)
        h, w = (side + 2 * (first_padding - 1) for side in size)
        layers: list[nn.Module] = []
        for d in range(depth):
            padding = first_padding if d == 0 else 1
            layers.append(nn.Conv2d(channels if d == 0 else width, width, 3, padding=padding))
            if norm != "none":
                layers.append(norm_layer(norm, width, (h, w)))
            layers += [nn.ReLU(), Halve()]
            h, w = h // 2, w // 2
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.classifier = nn.Linear(width * h * w, classes)

    def features(self, x: Tensor) -> Tensor:
        """Embedding `(B, F)` before the classifier."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(B, classes)`."""
        return self.classifier(self.body(x))
