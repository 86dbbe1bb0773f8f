"""The files of MNIST and its relatives (`train-images-idx3-ubyte` with its labels), read by torchvision."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

from refluence.data.options import refuse_columns
from refluence.data.stored import UNSPLIT, RawSplit, Splits
from refluence.errors import InputError
from refluence.options import SourceOptions

_IMAGES = re.compile(r"(?P<set>.*?)(?P<split>train|t10k|test)-images[-.]idx3-ubyte")


def is_images(path: Path) -> bool:
    """Whether the file's name is that of the images of a split."""
    return _IMAGES.fullmatch(path.name) is not None


def splits(paths: list[Path], options: SourceOptions) -> Splits:
    """What reads the splits whose images lie in `paths`; they must be of one set."""
    refuse_columns(options, f"{paths[0].parent} holds idx files, they have no columns")
    matches = {path: match for path in paths if (match := _IMAGES.fullmatch(path.name))}
    if len({(path.parent, match["set"]) for path, match in matches.items()}) > 1:
        listed = ", ".join(str(path) for path in paths[:4])
        raise InputError(f"several sets of idx files are there ({listed}): lay the files of one into a folder of their own")
    found: dict[str, Callable[[], RawSplit]] = {
        "test" if match["split"] == "t10k" else match["split"]: functools.partial(_read, path)
        for path, match in matches.items()
    }
    return Splits(found if "train" in found else {UNSPLIT: next(iter(found.values()))})


def _read(images: Path) -> RawSplit:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    labels = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
    try:
        pixels, classes = read_image_file(str(images)).numpy(), read_label_file(str(labels)).tolist()
    except FileNotFoundError:
        raise InputError(f"{labels} is missing: it holds the labels of {images.name}") from None
    except Exception as error:  # torchvision checks with `assert` and raises whatever a short file leads to
        raise InputError(f"{images} or {labels.name} is no whole idx file: {str(error) or 'its header is wrong'}") from error
    if len(pixels) != len(classes):
        raise InputError(f"{images} holds {len(pixels)} images, {labels.name} {len(classes)} labels")
    return RawSplit(
        where=str(images), labels=classes, encoded=functools.partial(iter, pixels), identity=["idx"], files=[images, labels]
    )
