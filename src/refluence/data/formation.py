"""Multi-formation: f x f reduced images in the space of one (IDC, Kim et al. 2022, arXiv 2205.14959, eq. 6 and sec. 3.2).

    decode   a stored image is cut into f x f tiles, each is enlarged to the full size: n stored images give f^2 n
    tile     f^2 n images are reduced and laid side by side: what `decode` begins with

A set is paid for by what is stored and trains on what is decoded. Order of the decoded images, as in the authors' code: tile by
tile, all images of one tile together. Ours: images are reduced by area means (the code of IDC and NCFM takes the nearest
pixels); where f does not divide the side, tiles are of unequal size by one pixel and do not overlap (the code pads instead).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from refluence.errors import InputError


def edges(side: int, factor: int) -> list[tuple[int, int]]:
    """First and last + 1 pixel of each of `factor` tiles along a side, as equal as can be, the larger ones first."""
    if not 1 <= factor <= side:
        raise InputError(f"factor is {factor}: it must be from 1 to the side of the image, {side} pixels")
    size, more = divmod(side, factor)
    starts = [i * size + min(i, more) for i in range(factor + 1)]
    return list(pairwise(starts))


def decode(images: Tensor, factor: int) -> Tensor:
    """Stored images `(n, C, H, W)` to decoded ones `(factor^2 n, C, H, W)`, bilinear; differentiable."""
    if factor == 1:
        return images
    height, width = images.shape[-2:]
    parts = [images[:, :, t:b, le:r] for t, b in edges(height, factor) for le, r in edges(width, factor)]
    return torch.cat([interpolate(part, (height, width), mode="bilinear", align_corners=False) for part in parts])


def repeat(labels: Tensor, factor: int) -> Tensor:
    """Labels `(n, ...)` of stored images to those of the decoded ones `(factor^2 n, ...)`, in the order of `decode`."""
    return labels if factor == 1 else torch.cat([labels] * factor**2)


def tile(images: Tensor, factor: int) -> Tensor:
    """`(factor^2 n, C, H, W)` images, tile by tile as `decode` gives them, to `(n, C, H, W)`: each reduced by area means."""
    if factor == 1:
        return images
    if len(images) % factor**2:
        raise InputError(
            f"{len(images)} images cannot be laid {factor} x {factor}: their number must be a multiple of {factor**2}"
        )
    height, width = images.shape[-2:]
    parts = iter(images.chunk(factor**2))
    whole = images.new_empty(len(images) // factor**2, *images.shape[1:])
    for top, bottom in edges(height, factor):
        for left, right in edges(width, factor):
            size = (bottom - top, right - left)
            whole[:, :, top:bottom, left:right] = interpolate(next(parts), size, mode="area")
    return whole
