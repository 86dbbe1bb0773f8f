"""One encoded image to uint8 pixels. Grey pictures come out with one channel, whatever they were stored as."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from refluence.data.stored import Encoded
from refluence.errors import RunError

VERSION = 2
"""Part of the cache key: raise it when the pixels that come out change, or what is remarked of them."""

SLIVER, LARGEST_ENLARGED = 16, 2**24
"""Of a picture so many times as long as wide, the centre is cut out before it is enlarged to more pixels than that."""

SCALED, ROWS = np.rint(np.arange(65536) / 257).astype(np.uint8), 256
"""16 bits to 8, and rows that are scaled at once: a large picture takes no multiple of its own memory."""

MARGIN = 8
"""Pixels around the centre that go along: Lanczos looks three pixels far."""

MACHINE = frozenset(getattr(errno, name, None) for name in ("EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ETIMEDOUT"))
"""Failures of the machine: no picture is taken for broken because of one, and remembered as such."""

Remark = tuple[str, int]
"""What a reader has to know of one picture: `("16 bits", its highest value)`, `("below 0", minus its lowest one)`,
`("frames", how many it has)`."""


def decode(encoded: Encoded, size: int | None, remarks: list[Remark] | None = None) -> np.ndarray:
    """Pixels `(C, H, W)` uint8, contiguous; C is 1 for a picture without colour, else 3.

    EXIF rotation is applied, CMYK, palette and 16 bits a channel become 8-bit RGB (or grey), transparency is left off
    as torchvision's ImageFolder does, of several frames the first is taken. With `size`, the short side is resized to it
    (Lanczos) and the centre is cut out. Remarks are added to `remarks`.
    Raises `ValueError` with a reason for an image that cannot be read, `RunError` where that is the machine's fault.
    """
    remarks = [] if remarks is None else remarks
    try:
        with _open(encoded) as opened:
            _remark(opened, remarks)
            image = _eight_bit(_upright(opened), remarks)
    except (ValueError, MemoryError):
        raise
    except OSError as error:
        if error.errno and error.errno in MACHINE:
            name, why = error.filename or "an image", error.strerror
            raise RunError(f"{name} cannot be read at present ({why}): try the same command again, or remove it") from error
        raise ValueError(_reason(error)) from error
    except Exception as error:  # Pillow raises nearly anything for a broken file
        raise ValueError(_reason(error)) from error
    if size is not None:
        image = _fit(image, size)
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        return pixels[None]
    if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        return np.ascontiguousarray(pixels[..., 0])[None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, which is more than Pillow opens"
    if isinstance(error, OSError) and error.strerror:  # without the path, which stands before it
        return error.strerror
    return str(error) or type(error).__name__


def short_side(encoded: Encoded) -> int | None:
    """The short side in pixels, only from the header; None where it cannot be read."""
    try:
        with _open(encoded) as image:
            return min(image.size)
    except Exception:
        return None


def _open(encoded: Encoded) -> Image.Image:
    if encoded is None:
        raise ValueError("no image in this row")
    if isinstance(encoded, Image.Image):
        return encoded.copy()
    if isinstance(encoded, np.ndarray):
        return Image.fromarray(encoded)
    if isinstance(encoded, Path) and not encoded.is_file():
        if encoded.is_symlink():
            raise ValueError(f"a link to {os.readlink(encoded)}, where no file is")
        raise ValueError("it is no file" if encoded.exists() else "there is no such file")
    if isinstance(encoded, (bytes, Path)):
        return Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded)
    raise ValueError(f"expected the bytes of an image, got {type(encoded).__name__}")


def _remark(image: Image.Image, remarks: list[Remark]) -> None:
    """Several frames (photographs of phones have previews as further ones), and colours whose low bytes Pillow leaves off."""
    with contextlib.suppress(Exception):  # broken further frames are no reason to refuse the first
        if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
            remarks.append(("frames", frames))
    if image.mode in ("RGB", "RGBA", "LA") and ";16" in str(getattr(image, "tile", "")[:1]):
        highest = max(high for _, high in np.atleast_2d(image.getextrema())[: 3 if image.mode != "LA" else 1])
        remarks.append(("16 bits", int(highest) * 257))


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF tag says. A broken tag is no reason to refuse a picture whose pixels can be read."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        image.load()
        return image


def _eight_bit(image: Image.Image, remarks: list[Remark]) -> Image.Image:
    """Any Pillow mode as L or RGB."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16-bit grey; Pillow's own conversion clips at 255
        values = np.asarray(image)
        if (highest := int(values.max())) > 0:
            remarks.append(("16 bits", highest))
        if (lowest := int(values.min())) < 0:
            remarks.append(("below 0", -lowest))
        eight = np.empty(values.shape, np.uint8)
        for top in range(0, len(values), ROWS):
            eight[top : top + ROWS] = SCALED[np.clip(values[top : top + ROWS], 0, 65535)]
        return Image.fromarray(eight)
    if image.mode == "F":
        raise ValueError("32-bit float pixels have no fixed range: store 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")


def _fit(image: Image.Image, size: int) -> Image.Image:
    """Short side to `size` (Lanczos, antialiased), then the centre `size` x `size`."""
    width, height = image.size
    if (width, height) == (size, size):
        return image
    scale = size / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = (width - size) // 2, (height - size) // 2
    if scale > 1 and max(width, height) > SLIVER * size and width * height > LARGEST_ENLARGED:
        return _centre(image, (width, height), (left, top), size)
    return image.resize((width, height), Image.Resampling.LANCZOS).crop((left, top, left + size, top + size))


def _centre(image: Image.Image, enlarged: tuple[int, int], corner: tuple[int, int], size: int) -> Image.Image:
    """The `size` x `size` pixels at `corner` of the enlarged picture, up to rounding, made of those pixels that they need."""
    first, last, box = [], [], []
    for length, long, start in zip(image.size, enlarged, corner, strict=True):
        low, high = start * length / long, (start + size) * length / long
        first.append(max(0, math.floor(low) - MARGIN))
        last.append(min(length, math.ceil(high) + MARGIN))
        box.append((low - first[-1], high - first[-1]))
    near = image.crop((first[0], first[1], last[0], last[1]))
    return near.resize((size, size), Image.Resampling.LANCZOS, box=(box[0][0], box[1][0], box[0][1], box[1][1]))
