"""`--shift KIND[+KIND…]:P`: images on purpose from another domain, to try what finds them or does without them.

In each class of train round(P n) of its n images are changed, by every kind in the order in which they stand:

    invert    255 - x, of floats 1 - x
    mirror    left and right change places
    colours   channels change places in a circle: red becomes green, green blue, blue red
    turn      90 degrees, counterclockwise

Labels stay right, and validation and test images stay as they are, those that are cut from train too: they are of the domain
that counts. A class is what the source calls so, also where `labels` or `noise` give other labels. Which images follows from
their numbers in the stored split alone, as the cuts do: from no seed, and a larger P adds images to those of a smaller one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from refluence.data import cache, exact
from refluence.data.options import share_of
from refluence.data.pixels import Pixels
from refluence.data.scale import SLACK
from refluence.errors import InputError, option, stated
from refluence.options import SourceOptions


def _inverted(images: Tensor) -> Tensor:
    return (255 if images.dtype == torch.uint8 else 1) - images


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "invert": _inverted,
    "mirror": lambda images: images.flip(3),
    "colours": lambda images: images.roll(1, 1),
    "turn": lambda images: images.rot90(1, (2, 3)),
}


@dataclass(frozen=True)
class Shift:
    """What is done to images, in this order, and on which share of each class."""

    kinds: tuple[str, ...]
    share: float


def read(options: SourceOptions) -> Shift | None:
    """The shift that is asked for, None where there is none. `InputError` where it cannot be."""
    text = options.shift
    if text is None:
        return None
    words, _, number = text.partition(":")
    kinds = tuple(words.split("+"))
    share = share_of(number)
    if not set(kinds) <= set(KINDS) or len(set(kinds)) < len(kinds) or not 0 < share < 1:
        raise InputError(
            f"{stated('shift', text)}: it must be KIND:P or KIND+KIND:P, where a KIND is {', '.join(KINDS)}, each once, and P "
            "is a share above 0 and below 1, as in invert+mirror:0.5"
        )
    return Shift(kinds, share)


def shifted(images: Tensor, shift: Shift) -> Tensor:
    """Images `(N, C, H, W)`, uint8 or floats, in the other domain."""
    for kind in shift.kinds:
        images = KINDS[kind](images)
    return images


def applied(decoded: Pixels, rows: np.ndarray, shift: Shift, where: str) -> Pixels:
    """The decoded images of a stored split, those of the stored `rows (M,)` shifted. `InputError` where they cannot be."""
    if not len(rows):
        return decoded
    at = decoded.positions(rows)
    chosen = decoded.images[at]
    _refuse(chosen, shift, where)
    new = exact.read(shifted(chosen, shift), None)

    def with_new(old: Tensor, values: Tensor) -> Tensor:
        found = old.clone(memory_format=torch.contiguous_format)
        found[at] = values
        return found

    digest = hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()
    return replace(
        decoded,
        images=with_new(decoded.images, new.images),
        digests=with_new(decoded.digests, new.digests),
        sums=with_new(decoded.sums, new.sums),
        key=None if decoded.key is None else cache.key("shift", decoded.key, shift.kinds, digest),
    )


def note(chosen: np.ndarray, text: str) -> str:
    """One line: how many images of train were changed. `chosen (N,)` is their mask."""
    changed = f"{int(chosen.sum())} of {len(chosen)} images of train are changed"
    return f"{option('shift', text)}: {changed}, those of validation and test are not"


def _refuse(images: Tensor, shift: Shift, where: str) -> None:
    """`InputError` for what these images do not have: colours, equal sides, a scale from 0 to 1."""
    said, (height, width) = option("shift", f"{'+'.join(shift.kinds)}:{shift.share:g}"), images.shape[2:]
    if "colours" in shift.kinds and bool((images == images[:, :1]).all()):
        raise InputError(f"{said}: the images of {where} are grey, colours cannot change places: leave colours out")
    if "turn" in shift.kinds and height != width:
        raise InputError(
            f"{said}: the images of {where} are {height} x {width} pixels, turn is for square ones: leave turn out, or make "
            f"them square with {option('image_size', min(height, width))}"
        )
    if "invert" in shift.kinds and images.dtype != torch.uint8:
        low, high = (float(end) for end in images.aminmax())
        if low < -SLACK or high > 1 + SLACK:
            raise InputError(
                f"{said}: the images of {where} are floats from {low:.4g} to {high:.4g}, invert is for 8 bits and for floats "
                "from 0 to 1: bring them to 0 to 1"
            )
