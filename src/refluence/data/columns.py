"""Which column holds the images, which the labels: by flag, by Hugging Face feature type, then by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refluence.errors import InputError

if TYPE_CHECKING:  # `datasets` takes a second to import: only sources that need it pay
    from datasets import Features

IMAGE_NAMES = ("image", "img", "images", "picture", "pixels", "jpg", "png", "webp")
LABEL_NAMES = ("label", "labels", "class", "cls", "target", "y")


def _is_image(feature) -> bool:
    """An Image feature, raw bytes, or a struct with `bytes` (and `path`)."""
    from datasets import Image, Value

    if isinstance(feature, Image):
        return True
    if isinstance(feature, Value):
        return feature.dtype in ("binary", "large_binary")
    return isinstance(feature, dict) and "bytes" in feature


def _is_label(feature) -> bool:
    from datasets import ClassLabel, Value

    return isinstance(feature, ClassLabel) or (
        isinstance(feature, Value) and not feature.dtype.startswith(("binary", "large_binary", "timestamp"))
    )


def _pick(candidates: list[str], preferred: tuple[str, ...], what: str, flag: str, where: str) -> str | None:
    """The only candidate, or the best named one; several equals are an error that names the flag."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    for name in preferred:
        for candidate in candidates:
            if candidate.lower() == name:
                return candidate
    raise InputError(f"{where} has several {what} columns ({', '.join(candidates)}): choose one with {flag}")


def require(features: Features, column: str, flag: str, where: str) -> str:
    """`column` itself if it is there; else an `InputError` that names the flag and the columns."""
    if column not in features:
        raise InputError(f"{flag} {column}: {where} has no such column; it has {', '.join(features)}")
    return column


def image_column(features: Features, chosen: str | None, where: str) -> str:
    """The image column. Errors: none, several without a usual name, or `chosen` does not exist."""
    if chosen is not None:
        return require(features, chosen, "--image-column", where)
    from datasets import Image

    typed = [name for name, feature in features.items() if isinstance(feature, Image)]
    candidates = typed or [name for name, feature in features.items() if _is_image(feature)]
    found = _pick(candidates, IMAGE_NAMES, "image", "--image-column", where)
    if found is None:
        raise InputError(
            f"{where} has no image column: expected an Image feature, bytes, or a struct of bytes and path; "
            f"its columns are {', '.join(features)} (name one with --image-column)"
        )
    return found


def label_column(features: Features, chosen: str | None, where: str) -> str:
    """The label column. Errors: none, several without a usual name, or `chosen` does not exist."""
    if chosen is not None:
        return require(features, chosen, "--label-column", where)
    from datasets import ClassLabel

    typed = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    named = [name for name, feature in features.items() if name.lower() in LABEL_NAMES and _is_label(feature)]
    found = _pick(typed or named, LABEL_NAMES, "label", "--label-column", where)
    if found is None:
        raise InputError(
            f"{where} has no label column: expected a ClassLabel feature or one called {', '.join(LABEL_NAMES)}; "
            f"its columns are {', '.join(features)} (name one with --label-column)"
        )
    return found


def class_names(features: Features, column: str) -> tuple[str, ...] | None:
    """The names behind integer labels, or None where the column carries none."""
    from datasets import ClassLabel

    feature = features[column]
    return tuple(feature.names) if isinstance(feature, ClassLabel) else None
