"""Differentiable Siamese augmentation (DSA): draw the parameters once, apply them to both sides.

Source: Zhao and Bilen 2021, arXiv 2102.08259: the matching loss compares grad l(A(S, w)) with grad l(A(T, w)), the same
operation A and the same parameters w on both sides. Ranges are those of the authors' code
(VICO-UoE/DatasetCondensation), with u ~ U[0, 1]:

    flip    mirrored left-right with probability 1/2       cutout  zero square of half the side, random centre
    scale   s_x, s_y ~ U[1/1.2, 1.2], bilinear warp        crop    zero padding, integer shift up to size/8 each side
    rotate  angle ~ U[-15, 15] degrees, bilinear warp
    color   brightness x + (u - 1/2);  saturation (x - m_c) 2u + m_c;  contrast (x - m)(u + 1/2) + m
            with m_c the mean over channels at each pixel and m the mean of the image

`dc_grey` is the augmentation of the DC protocol for MNIST (same code): per image one of crop (pad 4, shift -4 .. 3),
scale (each side times U[.8, 1.2]) and rotate (up to 45 degrees). Ours: the pad is side/7, which is 4 at 28 px; the
three operations are one bilinear warp filled with zeros (the mean colour of normalised images), where that code fills
with the batch mean and warps with nearest neighbour or splines.

It re-seeds the global generator to make two draws equal; here a `Draw` is a value, and `apply` has no randomness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from refluence.errors import InputError

DSA = "color_crop_cutout_flip_scale_rotate"
ALWAYS = ("flip", "color", "cutout")  # in mode I, in this order around the one that is drawn
OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate", "dc_grey")


@dataclass(frozen=True)
class Draw:
    """What one call of an augmentation will do: `(operation, parameters)` in order, for images of `size` (H, W).

    Parameters are float64 `(n, k)` on the CPU: n = 1 when all images share them, n = B when each has its own.
    """

    size: tuple[int, int]
    steps: tuple[tuple[str, Tensor], ...]


@dataclass(frozen=True)
class Augmentation:
    """The operations of a strategy. Mode `S` applies one of them per call, chosen uniformly; mode `M` all, in order.

    Mode `I` is IDC's (snu-mllab/Efficient-Dataset-Condensation): flip and color where the strategy has them, then one of
    crop, scale and rotate, then cutout where it has it.
    """

    operations: tuple[str, ...]
    mode: str = "S"

    def draw(self, generator: torch.Generator, size: Sequence[int], batch: int | None = None) -> Draw:
        """Choose operations and parameters for images of `size` (H, W) from a CPU generator.

        `batch` None: one set of parameters for every image (Siamese use). `batch` B: the same operation for the whole
        batch with parameters per image (training a network).
        """
        chosen = self.operations
        if self.mode == "S" and len(chosen) > 1:
            chosen = (chosen[int(torch.randint(len(chosen), (), generator=generator))],)
        if self.mode == "I":
            one = [name for name in chosen if name not in ALWAYS]
            drawn = [one[int(torch.randint(len(one), (), generator=generator))]] if one else []
            first, last = ([name for name in part if name in chosen] for part in (ALWAYS[:2], ALWAYS[2:]))
            chosen = (*first, *drawn, *last)
        n = 1 if batch is None else batch
        height, width = size
        return Draw((height, width), tuple((name, _parameters(name, generator, size, n)) for name in chosen))

    def apply(self, draw: Draw, x: Tensor) -> Tensor:
        """Images `(B, C, H, W)` to augmented images of that shape: deterministic, differentiable in x, out of place."""
        if tuple(x.shape[-2:]) != draw.size:
            raise ValueError(f"this draw is for images of {draw.size}, not of {tuple(x.shape[-2:])}")
        for name, values in draw.steps:
            if len(values) not in (1, len(x)):
                raise ValueError(f"this draw has parameters for {len(values)} images, the batch has {len(x)}")
            x = _APPLY[name](x, values)
        return x


def parse(strategy: str, mode: str = "S") -> Augmentation:
    """`color_crop_cutout_flip_scale_rotate` or a part of it, `dc_grey`, or `none` (the identity).

    Raises `InputError` for an operation or a mode that does not exist, and repeats the strategy.
    """
    if mode not in ("S", "M", "I"):
        raise InputError(f"unknown augmentation mode '{mode}': choose S (one operation per call), M (all) or I (IDC's)")
    names = () if strategy == "none" else ("dc_grey",) if strategy == "dc_grey" else tuple(strategy.split("_"))
    for name in names:
        if name not in OPERATIONS:
            known = ", ".join(OPERATIONS[:-1])
            raise InputError(f"unknown operation '{name}' in augmentation '{strategy}': join some of {known} with _, "
                             "or choose dc_grey or none")  # fmt: skip
    return Augmentation(names, mode)


def _parameters(name: str, generator: torch.Generator, size: Sequence[int], n: int) -> Tensor:
    """Parameters `(n, k)` of one operation, in the units that its `_apply` function documents."""

    def u(k: int) -> Tensor:
        return torch.rand(n, k, generator=generator, dtype=torch.float64)

    def integers(low: int, high: int) -> Tensor:
        return torch.randint(low, high + 1, (n, 1), generator=generator).double()

    if name == "color":
        return u(3) * torch.tensor([1.0, 2.0, 1.0]) + torch.tensor([-0.5, 0.0, 0.5])
    if name == "crop":
        return torch.cat([integers(-reach, reach) for reach in (int(side * 0.125 + 0.5) for side in size)], 1)
    if name == "cutout":
        sides = [int(side * 0.5 + 0.5) for side in size]
        tops = [integers(0, side - cut % 2) - cut // 2 for side, cut in zip(size, sides, strict=True)]
        return torch.cat([*tops, torch.tensor([sides]).double().expand(n, 2)], 1)
    if name == "flip":
        return (u(1) < 0.5).double()
    if name == "scale":
        return u(2) * (1.2 - 1 / 1.2) + 1 / 1.2
    if name == "rotate":
        return (u(1) * 2 - 1) * 15
    # dc_grey: which of three (one per image), shift in rows and columns, scale of height and width, degrees
    which = integers(0, 2)
    shift = torch.cat([integers(-pad, pad - 1) for pad in (max(1, round(side / 7)) for side in size)], 1)
    scale, angle = 0.8 + 0.4 * u(2), (u(1) * 2 - 1) * 45
    return torch.cat([shift * (which == 0), torch.where(which == 1, scale, 1.0), angle * (which == 2)], 1)


def _color(x: Tensor, values: Tensor) -> Tensor:
    """Values: what brightness adds, the factor of saturation, the factor of contrast."""
    brightness, saturation, contrast = values.to(x).view(-1, 3, 1, 1, 1).unbind(1)
    x = x + brightness
    if x.shape[1] > 1:  # a grey image is its own mean over channels
        mean = x.mean(1, keepdim=True)
        x = (x - mean) * saturation + mean
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * contrast + mean


def _crop(x: Tensor, values: Tensor) -> Tensor:
    """Values: rows and columns by which the window moves; what comes in from outside is zero."""
    height, width = x.shape[-2:]
    if len(values) == 1:
        lower, aside = (int(v) for v in values[0])
        return F.pad(x, (-aside, aside, -lower, lower))  # negative padding cuts away
    down, right = values.long().to(x.device).unbind(1)
    reach = int(values.abs().max())
    rows = torch.arange(height, device=x.device) + reach + down[:, None]
    columns = torch.arange(width, device=x.device) + reach + right[:, None]
    padded = F.pad(x, (reach,) * 4).permute(0, 2, 3, 1)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _cutout(x: Tensor, values: Tensor) -> Tensor:
    """Values: first row, first column, height and width of the zero square, which the border may clip."""
    top, left, tall, wide = values.to(x).view(-1, 4, 1, 1, 1).unbind(1)
    rows = torch.arange(x.shape[-2], device=x.device)[:, None]
    columns = torch.arange(x.shape[-1], device=x.device)
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    return x.masked_fill(inside, 0)


def _flip(x: Tensor, values: Tensor) -> Tensor:
    """Values: 1 for mirrored, 0 for left as it is."""
    return torch.where(values.to(x).view(-1, 1, 1, 1) > 0, x.flip(-1), x)


def _scale(x: Tensor, values: Tensor) -> Tensor:
    """Values: how far the sampling grid reaches in x and y: 1 is the image itself, 2 shows it at half its size."""
    zero = torch.zeros_like(values[:, 0])
    return _warp(x, torch.stack([values[:, 0], zero, zero, zero, values[:, 1], zero], 1))


def _rotate(x: Tensor, values: Tensor) -> Tensor:
    """Values: degrees, anticlockwise."""
    cos, sin, zero = *_turn(values[:, 0]), torch.zeros_like(values[:, 0])
    return _warp(x, torch.stack([cos, -sin, zero, sin, cos, zero], 1))


def _dc_grey(x: Tensor, values: Tensor) -> Tensor:
    """Values: shift in rows and columns, scale of height and width, degrees; at most one of the three not neutral."""
    down, right, tall, wide, degrees = values.unbind(1)
    cos, sin = _turn(degrees)
    shift_x, shift_y = 2 * right / x.shape[-1], 2 * down / x.shape[-2]
    return _warp(x, torch.stack([cos / wide, -sin, shift_x, sin, cos / tall, shift_y], 1))


def _turn(degrees: Tensor) -> tuple[Tensor, Tensor]:
    radians = torch.deg2rad(degrees)
    return radians.cos(), radians.sin()


def _warp(x: Tensor, matrix: Tensor) -> Tensor:
    """Bilinear resampling with zeros outside. `matrix` `(n, 6)`: output to input coordinates, both in [-1, 1]."""
    grid = F.affine_grid(matrix.to(x).view(-1, 2, 3), [len(matrix), *x.shape[1:]], align_corners=False)
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1), padding_mode="zeros", align_corners=False)


_APPLY = {"color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip, "scale": _scale, "rotate": _rotate,
          "dc_grey": _dc_grey}  # fmt: skip
