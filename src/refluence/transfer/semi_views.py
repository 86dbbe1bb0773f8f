"""Weak and strong views of images for the mechanism `semi`.

weak      moved by up to an eighth of a side, and where they have colours mirrored half of the time
strong    operations of RandAugment (Cubuk et al. 2020, arXiv 1909.13719) on the pixels, then a weak view, then a square of half
          the side without content (as FixMatch, arXiv 2001.07685)

Ours: each image draws its operations and signs; the strength is drawn once for an operation and batch, from 1 to `magnitude` of
30, so that images with the same operation are changed together. Grey images stay grey under operations on colours. Floats that
are not on the scale from 0 to 1, and images with neither one nor three channels, get the operations that move pixels alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from refluence.data.dataset import Dataset, Split
from refluence.transfer.batches import augmented

LEVELS = 30
SHEAR, TURN, MOVE, COLOUR = 17.0, 30.0, 0.45, 0.9  # at level 30: degrees, degrees, share of a side, change of a factor
Operation = Callable[[Tensor, float], Tensor]
Pair = tuple[float, float]


def operations(photometric: bool = True) -> dict[str, Operation]:
    """What may be done to images `(B, C, H, W)` at a signed strength in [-1, 1], by name."""
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as f

    how = v2.InterpolationMode.BILINEAR

    def warped(
        x: Tensor, angle: float = 0.0, shear: tuple[float, float] = (0.0, 0.0), move: tuple[float, float] = (0, 0)
    ) -> Tensor:
        height, width = x.shape[-2:]
        by = [round(move[0] * width), round(move[1] * height)]
        return f.affine(x, angle=angle, translate=by, scale=1.0, shear=list(shear), interpolation=how)

    moving: dict[str, Operation] = {
        "identity": lambda x, s: x,
        "shear-x": lambda x, s: warped(x, shear=(SHEAR * s, 0.0)),
        "shear-y": lambda x, s: warped(x, shear=(0.0, SHEAR * s)),
        "move-x": lambda x, s: warped(x, move=(MOVE * s, 0.0)),
        "move-y": lambda x, s: warped(x, move=(0.0, MOVE * s)),
        "turn": lambda x, s: warped(x, angle=TURN * s),
    }
    if not photometric:
        return moving
    top = {True: 255.0, False: 1.0}
    return {
        **moving,
        "brightness": lambda x, s: f.adjust_brightness(x, 1 + COLOUR * s),
        "saturation": lambda x, s: f.adjust_saturation(x, 1 + COLOUR * s),
        "contrast": lambda x, s: f.adjust_contrast(x, 1 + COLOUR * s),
        "sharpness": lambda x, s: f.adjust_sharpness(x, 1 + COLOUR * s),
        "posterise": lambda x, s: f.posterize(x, 8 - round(4 * abs(s))),
        "solarise": lambda x, s: f.solarize(x, top[x.dtype == torch.uint8] * (1 - abs(s))),
        "autocontrast": lambda x, s: f.autocontrast(x),
        "equalise": lambda x, s: f.equalize(x),
    }


def randomly(images: Tensor, count: int, magnitude: int, generator: torch.Generator, known: Mapping[str, Operation]) -> Tensor:
    """Images `(B, C, H, W)` after `count` operations each, one after the other."""
    x, every = images.clone(), list(known.values())
    for _ in range(count):
        chosen = torch.randint(len(every), (len(x),), generator=generator)
        signs = 1 - 2 * torch.randint(2, (len(x),), generator=generator)
        levels = (1 + torch.randint(magnitude, (len(every),), generator=generator)) / LEVELS
        for number, operation in enumerate(every):
            for sign in (1, -1):
                members = ((chosen == number) & (signs == sign)).nonzero().flatten()
                if len(members):
                    x[members] = operation(x[members], sign * float(levels[number]))
    return x


def cut_out(x: Tensor, generator: torch.Generator) -> Tensor:
    """Normalised images `(B, C, H, W)` with a square of half the side, anywhere, set to the mean colour."""
    size, side = x.shape[-2:], min(x.shape[-2:]) // 2
    inside = []
    for axis, length in enumerate(size):
        centre = torch.randint(length, (len(x), 1), generator=generator)
        places = torch.arange(length)[None]
        one = (places >= centre - side // 2) & (places < centre - side // 2 + side)
        inside.append(one[:, :, None] if axis == 0 else one[:, None, :])
    return x.masked_fill((inside[0] & inside[1])[:, None].to(x.device), 0.0)


def views(
    dataset: Dataset,
    split: Split,
    positions: Tensor,
    count: int,
    magnitude: int,
    generator: torch.Generator,
    device: torch.device,
    known: Mapping[str, Operation],
) -> tuple[Tensor, Tensor]:
    """A weak and a strong view `(B, C, H, W)`, normalised, of the instances at `positions (B,)` of a split."""
    weak = augmented(dataset.pixels(split, positions, device), generator)
    changed = randomly(split.images[positions], count, magnitude, generator, known)
    stored = Split(changed, split.labels[positions], split.rows[positions])
    strong = augmented(dataset.pixels(stored, slice(None), device), generator)
    return weak, cut_out(strong, generator)


def photometric(split: Split) -> bool:
    """Whether operations on colours and light mean something for its images."""
    images = split.images
    if images.shape[1] not in (1, 3):
        return False
    if images.dtype == torch.uint8:
        return True
    low, high = (float(end) for end in images.aminmax())
    return low >= 0 and high <= 1
