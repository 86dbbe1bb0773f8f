"""Small images in a notebook: inside the HTML, as PNG."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor

SHOWN = 20  # pictures, at most
STYLE = "width:48px;image-rendering:pixelated"


def pictures(images: Tensor) -> str:
    """The first images of `(N, C, H, W)` uint8 in a line; of other channels than 1 or 3 the first is shown."""
    return (
        "<p>" + "".join(f'<img style="{STYLE}" src="{_uri(image)}" alt="">' for image in images[:SHOWN].cpu().numpy()) + "</p>"
    )


def _uri(image: np.ndarray) -> str:
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)) if len(image) == 3 else image[0])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
