"""One encoded image to uint8 pixels. Grey pictures come out with one channel, whatever they were stored as."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from refluence.data.stored import Encoded

VERSION = 1
"""Part of the cache key: raise it when the pixels that come out change."""


def decode(encoded: Encoded, size: int | None) -> np.ndarray:
    """Pixels `(C, H, W)` uint8, contiguous; C is 1 for a picture without colour, else 3.

    EXIF rotation is applied, CMYK, palette and 16 bits a channel become 8-bit RGB (or grey), transparency is left off
    as torchvision's ImageFolder does. With `size`, the short side is resized to it (Lanczos) and the centre is cut out.
    Raises `ValueError` with a reason for an image that cannot be read.
    """
    try:
        with _open(encoded) as opened:
            image = _eight_bit(_upright(opened))
    except ValueError:
        raise
    except Exception as error:  # Pillow raises nearly anything for a broken file
        reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise ValueError(reason or type(error).__name__) from error
    if size is not None:
        image = _fit(image, size)
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        return pixels[None]
    if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        return np.ascontiguousarray(pixels[..., 0])[None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def short_side(encoded: Encoded) -> int | None:
    """The short side in pixels from the header alone; None where it cannot be read."""
    try:
        with _open(encoded) as image:
            return min(image.size)
    except Exception:
        return None


def _open(encoded: Encoded) -> Image.Image:
    if encoded is None:
        raise ValueError("no image in this row")
    if isinstance(encoded, np.ndarray):
        return Image.fromarray(encoded)
    if isinstance(encoded, (bytes, Path)):
        return Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded)
    raise ValueError(f"expected the bytes of an image, got {type(encoded).__name__}")


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF tag says. A broken tag is no reason to refuse a picture whose pixels can be read."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        image.load()
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Any Pillow mode as L or RGB."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16-bit grey; Pillow's own conversion clips at 255
        return Image.fromarray(np.rint(np.clip(np.asarray(image).astype(np.float64), 0, 65535) / 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("32-bit float pixels have no fixed range: store 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")


def _fit(image: Image.Image, size: int) -> Image.Image:
    """Short side to `size` (Lanczos, antialiased), then the centre `size` x `size`."""
    width, height = image.size
    if (width, height) != (size, size):
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
