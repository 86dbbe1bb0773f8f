"""Epochs and batch of a protocol that depend on how many images per class there are to train on (after decoding).

idc-imagenet  3000, 2000, 1500, 1000, 500 epochs up to 1, 10, 50, 200, 500 images per class, else 300; for 100 classes two
              thirds, rounded down to hundreds (code of IDC, arXiv 2205.14959: `ipc_epoch`)
frepo         1000 updates; for 100 classes 1000 at one image per class, 2000 up to 10 and 5000 above (code of FRePo, arXiv
              2206.00719); that its values for 10 and 50 hold from 2 and from 11 on is ours
rded          batch 10, 50, 100 up to 1, 10, 50 and more images per class, twice that from 100 classes on, and never more
              than there are images (code of RDED, arXiv 2312.03526, which has only 1, 10 and 50; values in between are ours)
"""

from __future__ import annotations

from collections.abc import Callable

EPOCHS = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500), (float("inf"), 300))
BATCHES = ((1, 10), (10, 50), (float("inf"), 100))


def idc_imagenet(per_class: float, classes: int) -> dict[str, int]:
    """Epochs by decoded images per class."""
    epochs = _first(EPOCHS, per_class)
    return {"epochs": epochs * 2 // 3 // 100 * 100 if classes == 100 else epochs}


def frepo(per_class: float, classes: int) -> dict[str, int]:
    """Updates by images per class."""
    return {"epochs": 1000 if classes != 100 or per_class <= 1 else 2000 if per_class <= 10 else 5000}


def rded(per_class: float, classes: int) -> dict[str, int]:
    """Batch size by images per class."""
    batch = _first(BATCHES, per_class) * (2 if classes >= 100 else 1)
    return {"batch": max(1, min(batch, round(per_class * classes)))}


def _first(table: tuple[tuple[float, int], ...], per_class: float) -> int:
    return next(value for most, value in table if per_class <= most)


RULES: dict[str, Callable[[float, int], dict[str, int]]] = {"idc-imagenet": idc_imagenet, "frepo": frepo, "rded": rded}
