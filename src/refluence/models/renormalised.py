"""A network that takes images as they are normalised here, and sees them as its own were: other numbers, channels and size.

net( resize( (s x + m - M) / S ) )        m, s: mean and standard deviation here;  M, S: the network's
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from refluence.errors import InputError

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation by channel, on [0, 1] pixels; empty where they are not known."""


class Renormalised(nn.Module):
    """`net` for images `(B, C, H, W)` that are normalised by `ours`. Its state is that of `net`, behind `net.`.

    Args:
        net: takes images that are normalised by `theirs`.
        ours: mean and standard deviation of the images that come.
        theirs: those that the network was trained with; empty: the same.
        size: side of the images that the network takes; None: that of those that come.

    Raises:
        InputError: grey images are repeated for a network of several channels, other numbers of channels do not fit.

    Example:
        >>> net = Renormalised(nn.Identity(), ((0.5,), (0.5,)), ((0.0,), (1.0,)))
        >>> net(torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1)).flatten().tolist()
        [0.0, 0.5, 1.0]
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, ours: Normalisation, theirs: Normalisation, size: int | None = None):
        super().__init__()
        known = bool(ours[0] and theirs[0])
        if known and len(ours[0]) not in (1, len(theirs[0])):
            raise InputError(f"the network takes images of {len(theirs[0])} channels, these have {len(ours[0])}")
        (m, s), (mean, std) = ([torch.tensor(each).view(-1, 1, 1) for each in pair] for pair in (ours, theirs))
        self.net, self.ours, self.theirs, self.size = net, ours, theirs if theirs[0] else ours, size
        self.register_buffer("scale", s / std if known else torch.ones(1, 1, 1), persistent=False)
        self.register_buffer("shift", (m - mean) / std if known else torch.zeros(1, 1, 1), persistent=False)

    def images(self, x: Tensor) -> Tensor:
        """Images as the network sees them."""
        x = x * self.scale + self.shift  # grey ones become as many channels as there are numbers
        if self.size is None or x.shape[-2:] == (self.size, self.size):
            return x
        return interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)

    def own(self) -> nn.Module:
        """The network for images that are normalised by `theirs`, resized where it has a size."""
        return self.net if self.size is None else Renormalised(self.net, self.theirs, self.theirs, self.size).eval()

    def features(self, x: Tensor) -> Tensor:
        """Embedding `(B, F)` of a network that has one."""
        return self.net.features(self.images(x))  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(B, classes)`."""
        return self.net(self.images(x))
