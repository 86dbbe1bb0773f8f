"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels, ten classes, always at hand."""

from __future__ import annotations

import functools

import numpy as np

from refluence.data.options import refuse_columns
from refluence.data.stored import UNSPLIT, RawSplit, Splits
from refluence.options import SourceOptions


def splits(options: SourceOptions) -> Splits:
    """One stored split; the test split is cut from it."""
    refuse_columns(options, "digits has no columns")
    return Splits({UNSPLIT: _read})


def _read() -> RawSplit:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # 17 grey levels 0 … 16
    return RawSplit(
        where="digits",
        labels=labels.tolist(),
        names=tuple("0123456789"),
        encoded=functools.partial(iter, pixels),
    )
