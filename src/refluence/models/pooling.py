"""The mean of 2 x 2 pixels, by the faster of two kernels that give the same bits.

PyTorch's average pool on a CPU is a plain loop. As a depthwise convolution with four quarters it adds the same numbers in the
same order, forwards and backwards, in a third of the time: a quarter is a power of two, so no product rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.jit._trace import is_tracing

WORTH = 2**14  # numbers of a batch from which the convolution repays its set-up
_plain = 0  # how many blocks of `plain_pooling` are open


class Halve(nn.AvgPool2d):
    """`nn.AvgPool2d(2)`: maps `(B, C, H, W)` to `(B, C, H // 2, W // 2)`."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, x: Tensor) -> Tensor:
        """The means."""
        if not _as_convolution(x):
            return super().forward(x)
        channels = x.shape[1]
        return F.conv2d(x, x.new_full((channels, 1, 2, 2), 0.25), stride=2, groups=channels)


@contextmanager
def plain_pooling() -> Iterator[None]:
    """Inside, the pool is PyTorch's own: where operations are traced to be compiled, or run at another precision."""
    global _plain
    _plain += 1
    try:
        yield
    finally:
        _plain -= 1


def _as_convolution(x: Tensor) -> bool:
    if torch.compiler.is_compiling() or is_tracing() or _plain:
        return False
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.dim() != 4 or min(x.shape[-2:]) < 2:
        return False
    return x.numel() >= WORTH and bool(torch.backends.mkldnn.enabled) and not torch.is_autocast_enabled("cpu")
