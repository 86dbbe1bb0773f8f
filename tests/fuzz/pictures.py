"""Pictures as people have them: of many kinds, whole and broken, as bytes."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image

FINE = 24  # different fine pictures


@cache
def fine(index: int, mode: str = "RGB", size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    """A picture of noise."""
    pixels = np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return _saved(Image.fromarray(pixels).convert(mode), kind)


def _saved(image: Image.Image, kind: str, **more) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **more)
    return stream.getvalue()


def _deep(kind: str) -> bytes:
    return _saved(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 60), kind)


def _animated(kind: str) -> bytes:
    frames = [Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)) for i in range(3)]
    return _saved(frames[0], kind, save_all=True, append_images=frames[1:])


def _floats() -> bytes:
    return _saved(Image.fromarray(np.linspace(-1, 2, 64, dtype=np.float32).reshape(8, 8)), "TIFF")


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved(Image.open(io.BytesIO(fine(3))), "JPEG", exif=exif)


ODD = {
    "grey": lambda: fine(1, "L"),
    "black and white": lambda: fine(1, "1"),
    "palette": lambda: fine(1, "P"),
    "transparent": lambda: fine(1, "RGBA"),
    "grey and alpha": lambda: fine(1, "LA"),
    "cmyk": lambda: fine(1, "CMYK", kind="JPEG"),
    "ycbcr": lambda: fine(1, "YCbCr", kind="JPEG"),
    "lab": lambda: fine(1, "LAB", kind="TIFF"),
    "16 bits": lambda: _deep("PNG"),
    "16 bits tif": lambda: _deep("TIFF"),
    "floats": _floats,
    "animated gif": lambda: _animated("GIF"),
    "animated webp": lambda: _animated("WEBP"),
    "animated png": lambda: _animated("PNG"),
    "rotated": _rotated,
    "larger": lambda: fine(1, size=(11, 13)),
    "sliver": lambda: fine(1, size=(1, 400)),
    "pixel": lambda: fine(1, size=(1, 1)),
    "bmp": lambda: fine(1, kind="BMP"),
    "ppm": lambda: fine(1, kind="PPM"),
    "empty": lambda: b"",
    "truncated": lambda: fine(1)[:60],
    "truncated jpeg": lambda: fine(1, kind="JPEG")[:-40],
    "head alone": lambda: fine(1)[:8],
    "text": lambda: b"<html>404 not found</html>",
    "zeros": lambda: bytes(200),
    "flipped bits": lambda: bytes(b ^ (i == 50) * 255 for i, b in enumerate(fine(1))),
    "huge header": lambda: fine(1)[:16] + b"\x00\xff\xff\xff\x00\xff\xff\xff" + fine(1)[24:],
    "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'/>",
}
"""By name, what may lie where a fine picture is expected."""
