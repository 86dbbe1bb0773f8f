"""Whether images are large enough for a network: what is left of them in its last maps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from refluence.errors import InputError, option

Size = tuple[int, int]


def check_maps(name: str, size: Size, norm: str, last_map: Callable[[Size], Size]) -> None:
    """`InputError` where the last map would have no pixel, or one pixel under instance norm, and for layer norm.

    `last_map`: height and width of the last map of images `size`.
    """
    if norm == "layer":
        raise InputError(f"{name} has no layer norm, whose parameters are as large as a map: ConvNets have")

    def fits(side: Size, pixels: int) -> bool:
        h, w = last_map(side)
        return h * w >= pixels

    def smallest(pixels: int) -> int:
        return next(side for side in count(1) if fits((side, side), pixels))

    images = f"images of {size[0]}x{size[1]}"
    if not fits(size, 1):
        raise InputError(f"{images} are too small for {name}: {option('image_size', smallest(1))} or more resizes them")
    if norm == "instance" and not fits(size, 2):
        raise InputError(
            f"{images} leave one pixel in the last maps of {name}, of which instance norm leaves nothing: use "
            f"{option('norm', 'group')} or batch, or {option('image_size', smallest(2))} or more"
        )


def strided(size: Size, halvings: int) -> Size:
    """The map after so many convolutions of stride 2, which round up."""
    height, width = (-(-side // 2**halvings) for side in size)
    return height, width
