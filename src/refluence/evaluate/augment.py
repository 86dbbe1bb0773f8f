"""Augmentations of the evaluation protocols that are not DSA's, with parameters per image, each drawn from a generator.

    rrc      a box of share s ~ U[least, 1] of the area and aspect exp U[log 3/4, log 4/3], placed uniformly, enlarged to the
             full size by bilinear interpolation; where none of ten boxes fits, the largest one in the middle
    flip     mirrored left-right with probability 1/2          pad      zero padding of side/8, integer shift up to that
    patches  the image cut in 2 x 2; its two columns and then its two rows in random order
    jitter   on pixels: brightness (1 - a) x, contrast (1 - b) x + b mean grey, saturation (1 - c) x + c grey, with
             a, b, c ~ U[-.4, .4], in random order; grey = .299 R + .587 G + .114 B
    lighting on pixels: x + sum_k n_k l_k v_k, n_k ~ N(0, .1), with the eigenvalues l and -vectors v of ImageNet's colours

    imagenet = rrc(1/2) flip jitter lighting: IDC's for ImageNet (arXiv 2205.14959, its code), Minimax and IGD
    rded     = patches rrc(1/2) flip: RDED (arXiv 2312.03526, its code)
    sre2l    = rrc(.08) flip: SRe2L (arXiv 2306.13092, its code); cifar = pad flip: the same for CIFAR
    crop_noise = pad (with the batch's mean of each channel), or x + n, n ~ N(0, .001): DC's for ConvNets with batch norm
               (arXiv 2006.05929, its code)
    frepo    = one a batch of FRePo's (arXiv 2206.00719, its code): flip; color x + U[-.25, .25], then contrast and saturation
               by factors exp U[-.25, .25] around the mean of the image and of the pixel; crop: a window of sides 1/z,
               log z ~ U[log .8, log 1.25], off by up to |z - 1|/2z; rotate up to 15 degrees; translate up to an eighth;
               cutout: a zero square of a quarter of the side. Warps repeat the border. frepo_grey: without flip

"On pixels" means that the image is brought back to [0, 1] by its mean and std first; without them it is taken as it is.
Ours: the padding is side/8, which is 4 at 32 px, that of the source; the order of jitter is drawn once a batch, not once an
image; grey images are their own grey and get no lighting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from refluence.matching.augment import parse

Pixels = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and std per channel: pixel = image * std + mean."""
Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Images `(B, C, H, W)` and a CPU generator to augmented images."""

GREY = (0.299, 0.587, 0.114)
LIGHT_VALUES = (0.2175, 0.0188, 0.0045)
LIGHT_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def augmenter(strategy: str, mode: str = "S", pixels: Pixels | None = None) -> Augment:
    """The augmentation of a name above, else that of `matching.augment`, with parameters per image."""
    if strategy in ("frepo", "frepo_grey"):
        return partial(_one_of, FREPO[strategy == "frepo_grey" :])
    if strategy in STRATEGIES:
        return partial(_chain, STRATEGIES[strategy], pixels)
    dsa = parse(strategy, mode)
    return lambda x, generator: dsa.apply(dsa.draw(generator, x.shape[-2:], len(x)), x)


def _chain(operations: tuple[Augment, ...], pixels: Pixels | None, x: Tensor, generator: torch.Generator) -> Tensor:
    for operation in operations:
        x = _on_pixels(operation, pixels, x, generator) if operation in (jitter, lighting) else operation(x, generator)
    return x


def _one_of(operations: tuple[Augment, ...], x: Tensor, generator: torch.Generator) -> Tensor:
    return operations[int(torch.randint(len(operations), (), generator=generator))](x, generator)


def _on_pixels(operation: Augment, pixels: Pixels | None, x: Tensor, generator: torch.Generator) -> Tensor:
    if pixels is None:
        return operation(x, generator)
    mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device).view(-1, 1, 1) for values in pixels)
    return (operation(x * std + mean, generator) - mean) / std


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Left-right with probability 1/2."""
    return torch.where(_uniform(x, generator, 1) < 0.5, x.flip(-1), x)


def pad(x: Tensor, generator: torch.Generator, both: bool = True) -> Tensor:
    """Zero padding and an integer shift, by all of the padding at `both` ends, or by one pixel less at the far one."""
    height, width = x.shape[-2:]
    down, across = (max(1, round(side / 8)) for side in (height, width))
    shift = [torch.randint(2 * reach + both, (len(x), 1), generator=generator).to(x.device) for reach in (down, across)]
    rows = (torch.arange(height, device=x.device) + shift[0])[:, :, None]
    columns = (torch.arange(width, device=x.device) + shift[1])[:, None, :]
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return F.pad(x, (across, across, down, down)).permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2).contiguous()


def crop_noise(x: Tensor, generator: torch.Generator, deviation: float = 0.001) -> Tensor:
    """Of each image either `pad`, around it the batch's mean of each channel, or noise, as it falls."""
    noise, mean = deviation * torch.randn(x.shape, generator=generator), x.mean((0, 2, 3), keepdim=True)
    return torch.where(_uniform(x, generator, 1) < 0.5, pad(x - mean, generator, both=False) + mean, x + noise.to(x))


def rrc(x: Tensor, generator: torch.Generator, least: float = 0.08) -> Tensor:
    """Random resized crop to the image's own size."""
    height, width = x.shape[-2:]
    boxes = torch.tensor([_box(height, width, least, generator) for _ in range(len(x))], dtype=torch.float64)
    top, left, tall, wide = boxes.unbind(1)
    zero = torch.zeros_like(top)
    across = torch.stack([wide / width, zero, (2 * left + wide) / width - 1], 1)
    down = torch.stack([zero, tall / height, (2 * top + tall) / height - 1], 1)
    # an enlarged crop must not see its surroundings: sampling stops half a pixel inside the box
    low = torch.stack([(2 * left + 1) / width - 1, (2 * top + 1) / height - 1], 1)
    high = torch.stack([(2 * (left + wide) - 1) / width - 1, (2 * (top + tall) - 1) / height - 1], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), [len(x), *x.shape[1:]], align_corners=False)
    grid = grid.clamp(low[:, None, None], high[:, None, None]).to(x)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _box(height: int, width: int, least: float, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random box, as torchvision draws it."""
    for _ in range(10):
        share, aspect = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        area = height * width * (least + (1 - least) * share)
        ratio = math.exp(math.log(3 / 4) + math.log(16 / 9) * aspect)
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            top = int(torch.randint(height - tall + 1, (), generator=generator))
            return top, int(torch.randint(width - wide + 1, (), generator=generator)), tall, wide
    tall, wide = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def patches(x: Tensor, generator: torch.Generator) -> Tensor:
    """2 x 2 patches, shuffled column by column and row by row."""
    swap = torch.rand(2, len(x), 1, 1, 1, generator=generator).to(x.device) < 0.5
    for axis in (3, 2):
        half = x.shape[axis] // 2
        parts = x.split((half, x.shape[axis] - half), axis)
        x = torch.where(swap[axis - 2], torch.cat(parts[::-1], axis), x)
    return x


def jitter(x: Tensor, generator: torch.Generator, reach: float = 0.4) -> Tensor:
    """Brightness, contrast and saturation in random order."""
    shares = ((_uniform(x, generator, 3) * 2 - 1) * reach).unbind(1)
    for which in torch.randperm(3, generator=generator).tolist():
        share = shares[which].unsqueeze(1)
        toward = (0.0, _grey(x).mean((2, 3), keepdim=True), _grey(x))[which]
        x = x + share * (toward - x)
    return x


def lighting(x: Tensor, generator: torch.Generator, deviation: float = 0.1) -> Tensor:
    """A shift along the principal colours of ImageNet; images that are not of three channels stay as they are."""
    if x.shape[1] != 3:
        return x
    amounts = deviation * torch.randn(len(x), 3, generator=generator) * torch.tensor(LIGHT_VALUES)
    return x + (amounts @ torch.tensor(LIGHT_VECTORS).T).to(x)[:, :, None, None]


def color(x: Tensor, generator: torch.Generator, reach: float = 0.25) -> Tensor:
    """FRePo's brightness, contrast and saturation."""
    u = (_uniform(x, generator, 3) * 2 - 1) * reach
    x = x + u[:, :1]
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * u[:, 1:2].exp() + mean
    mean = x.mean(1, keepdim=True)
    return (x - mean) * u[:, 2:].exp() + mean


def crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """FRePo's zoom, in and out, with an offset."""
    u = torch.rand(len(x), 3, generator=generator, dtype=torch.float64)
    side = torch.exp(-(math.log(0.8) + math.log(1.25 / 0.8) * u[:, 0]))  # of the window, 1: the whole image
    off, zero = (u[:, 1:] * 2 - 1) * (1 - side).abs()[:, None], torch.zeros_like(side)
    return _warp(x, torch.stack([side, zero, off[:, 0], zero, side, off[:, 1]], 1))


def rotate(x: Tensor, generator: torch.Generator) -> Tensor:
    """Up to 15 degrees."""
    angle = torch.deg2rad((torch.rand(len(x), generator=generator, dtype=torch.float64) * 2 - 1) * 15)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _warp(x, torch.stack([cos, -sin, zero, sin, cos, zero], 1))


def translate(x: Tensor, generator: torch.Generator) -> Tensor:
    """Up to an eighth of the side, not by whole pixels."""
    off = (torch.rand(len(x), 2, generator=generator, dtype=torch.float64) * 2 - 1) / 4  # the image is 2 wide
    one, zero = torch.ones(len(x), dtype=torch.float64), torch.zeros(len(x), dtype=torch.float64)
    return _warp(x, torch.stack([one, zero, off[:, 0], zero, one, off[:, 1]], 1))


def cutout(x: Tensor, generator: torch.Generator) -> Tensor:
    """A zero square of a quarter of the side, inside the image."""
    lines = []
    for side in x.shape[2:]:
        cut = side // 4
        first = torch.randint(side - cut + 1, (len(x), 1), generator=generator).to(x.device)
        at = torch.arange(side, device=x.device)
        lines.append((at >= first) & (at < first + cut))
    inside = lines[0][:, None, :, None] & lines[1][:, None, None, :]
    return x.masked_fill(inside, 0)


def _warp(x: Tensor, matrix: Tensor) -> Tensor:
    """Bilinear resampling that repeats the border. `matrix` `(B, 6)`: output to input coordinates, both in [-1, 1]."""
    grid = F.affine_grid(matrix.view(-1, 2, 3), [len(x), *x.shape[1:]], align_corners=False).to(x)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _grey(x: Tensor) -> Tensor:
    """`(B, 1, H, W)`."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * torch.tensor(GREY, dtype=x.dtype, device=x.device).view(3, 1, 1)).sum(1, keepdim=True)


def _uniform(x: Tensor, generator: torch.Generator, k: int) -> Tensor:
    """`(B, k, 1, 1)` from U[0, 1] on the device of x."""
    return torch.rand(len(x), k, 1, 1, generator=generator).to(x)


STRATEGIES: dict[str, tuple[Augment, ...]] = {
    "imagenet": (partial(rrc, least=0.5), flip, jitter, lighting),
    "rded": (patches, partial(rrc, least=0.5), flip),
    "sre2l": (partial(rrc, least=0.08), flip),
    "cifar": (pad, flip),
    "crop_noise": (crop_noise,),
}
FREPO: tuple[Augment, ...] = (flip, color, crop, rotate, translate, cutout)
