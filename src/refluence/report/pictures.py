"""Arrays to pictures inside the page: data URIs, no files beside it.

Small images become PNG, exactly; larger ones are shrunk to `LARGEST` pixels and stored as WebP, or the page would
weigh tens of megabytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

EXACT = 40
LARGEST = 96


def data_uri(image: np.ndarray) -> str:
    """`data:image/...;base64,...` of a uint8 image (C, H, W) with one, three or four channels (others: the first)."""
    pixels = image if image.shape[0] in (1, 3, 4) else image[:1]
    picture = Image.fromarray(pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    if max(picture.size) <= EXACT:
        picture.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        picture.save(buffer, "WEBP", quality=85)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def visible(images: np.ndarray, mean: Sequence[float] | None, std: Sequence[float] | None) -> np.ndarray:
    """Normalised float images (M, C, H, W) as uint8: x · std + mean, clipped to what a screen can show.

    Without mean and std, or if they have another number of channels, each image is stretched from its own least to
    its greatest value. What is not a number becomes black.
    """
    channels = images.shape[1]
    images = np.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0)
    if mean is not None and std is not None and len(mean) == len(std) == channels:
        shape = (1, channels, 1, 1)
        unit = images * np.asarray(std, np.float32).reshape(shape) + np.asarray(mean, np.float32).reshape(shape)
    else:
        low = images.min(axis=(1, 2, 3), keepdims=True)
        unit = (images - low) / np.maximum(images.max(axis=(1, 2, 3), keepdims=True) - low, 1e-12)
    return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)
