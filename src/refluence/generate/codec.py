"""Between the pixels of images and what a denoiser noises: the pixels themselves, or the latents of an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

Shape = tuple[int, int, int]


class Codec(Protocol):
    """Between pixels of 0 to 1 and what is noised."""

    def shape(self, pixels: Shape) -> Shape:
        """Of what is noised, from that of the images."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels `(B, C, H, W)` to z."""

    def decode(self, z: Tensor) -> Tensor:
        """z to pixels, not clamped; gradients go through."""

    def state(self) -> dict[str, Tensor]:
        """All that decides what it gives, on the CPU."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""

    def to(self, device: torch.device) -> Codec:
        """The same on another device."""


class Pixels:
    """z = 2 x - 1."""

    def shape(self, pixels: Shape) -> Shape:
        """See `Codec`."""
        return pixels

    def encode(self, pixels: Tensor) -> Tensor:
        """See `Codec`."""
        return 2 * pixels - 1

    def decode(self, z: Tensor) -> Tensor:
        """See `Codec`."""
        return (z + 1) / 2

    def state(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """See `Codec`: nothing is taken over."""

    def to(self, device: torch.device) -> Pixels:
        """See `Codec`."""
        return self
