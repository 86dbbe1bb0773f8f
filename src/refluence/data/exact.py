"""Images that need no decoding: tensors from Python, kept as they come; floats are not rounded to 8 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from refluence.data.pixels import CHUNK, MixedSizesError, Pixels


def read(images: Tensor, size: int | None, expected: tuple[int, int] | None = None) -> Pixels:
    """What decoding gives, of images `(N, C, H, W)` uint8 or float32.

    With `size`, the short side is resized to it (bicubic, antialiased) and the centre is cut out. `MixedSizesError` where they
    are not of the `expected` height and width.
    """
    if size is not None and tuple(images.shape[2:]) != (size, size):
        images = torch.cat([_fit(part, size) for part in images.split(CHUNK)])
    if expected is not None and tuple(images.shape[2:]) != expected:
        raise MixedSizesError
    digests = torch.tensor([int.from_bytes(each, "little", signed=True) for each in _digests(images)])
    return Pixels(images, digests, torch.cat([_sums(part) for part in images.split(CHUNK)]), {})


def _fit(images: Tensor, size: int) -> Tensor:
    height, width = images.shape[2:]
    scale = size / min(height, width)
    height, width = max(size, round(height * scale)), max(size, round(width * scale))
    top, left = (height - size) // 2, (width - size) // 2
    resized = interpolate(images.float(), (height, width), mode="bicubic", antialias=True)
    resized = resized[:, :, top : top + size, left : left + size]
    return resized.round_().clamp_(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else resized.contiguous()


def _digests(images: Tensor) -> Iterator[bytes]:
    """A fingerprint of each image: grey ones and those that are spread to three channels are alike, as decoded ones are."""
    for part in images.split(CHUNK):
        grey = (part == part[:, :1]).flatten(1).all(1).tolist() if part.shape[1] == 3 else [False] * len(part)
        for image, alike in zip(part.contiguous().numpy(), grey, strict=True):
            yield hashlib.blake2b((image[:1] if alike else image).data, digest_size=8).digest()


def _sums(images: Tensor) -> Tensor:
    """Sums of pixels and of their squares, `(n, C, 2)`: whole numbers for 8 bits (float64 holds them exactly), else float64."""
    wide = images.flatten(2).double()
    found = torch.stack([wide.sum(2), torch.linalg.vecdot(wide, wide)], dim=2)
    return found.long() if images.dtype == torch.uint8 else found
