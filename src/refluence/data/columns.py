"""Which column holds the images, which the labels: by flag, by Hugging Face feature type, then by name."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from refluence.data.options import NoColumnError
from refluence.errors import InputError, option
from refluence.options import SourceOptions

if TYPE_CHECKING:  # `datasets` takes a second to import: only sources that need it pay
    import pyarrow as pa

    Features = Mapping[str, object]  # a column's name to its feature; None where `datasets` knows none for its type

IMAGE_NAMES = ("image", "img", "images", "picture", "pixels", "jpg", "png", "webp")
TEXT_NAMES = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("premise", "hypothesis"),
    ("sentence",),
    ("text",),
    ("content",),
    ("review",),
)
"""Columns that hold texts, or pairs of them, best first: those of GLUE and of the usual sets of the Hub."""
LABEL_NAMES = ("label", "labels", "class", "cls", "target", "y")


def features(schema: pa.Schema) -> Features:
    """The feature of every column. Each is read separately, so that a column nobody uses may be of any type, and be
    declared by a `datasets` of any version."""
    try:
        declared = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        declared = None
    declared = declared if isinstance(declared, dict) else {}
    return {field.name: _feature(field, declared.get(field.name)) for field in schema}


def _feature(field: pa.Field, declared: object) -> object:
    import datasets
    import pyarrow as pa

    with contextlib.suppress(Exception):  # a declaration of another version
        feature = datasets.Features.from_dict({field.name: declared})[field.name]
        if isinstance(feature, datasets.ClassLabel) and pa.types.is_integer(field.type):
            return feature
        if datasets.Features({field.name: feature}).arrow_schema.field(field.name) == field:
            return feature
    with contextlib.suppress(Exception):  # a type that `datasets` does not know
        return datasets.Features.from_arrow_schema(pa.schema([field]))[field.name]
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if is_text(kind):
        return datasets.Value("string")
    return datasets.Value("binary") if str(kind) == "binary_view" else None


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of text."""
    return str(kind) in ("string", "large_string", "string_view")


def _is_image(feature: object) -> bool:
    """An Image feature, raw bytes, or a struct with `bytes` (and `path`)."""
    from datasets import Image, Value

    if isinstance(feature, Image):
        return True
    if isinstance(feature, Value):
        return feature.dtype in ("binary", "large_binary", "binary_view")
    return isinstance(feature, dict) and "bytes" in feature


def _is_label(feature: object) -> bool:
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


def require(features: Features, column: str, name: str, where: str, said: str = "") -> str:
    """`column` itself if it is there; else a `NoColumnError` that names the option, and the columns that there are.

    `said`: the option and its value, where the value is more than the column.
    """
    if column not in features:
        asked = f"{said} {column}" if said else option(name, column)
        raise NoColumnError(name, f"{asked}: {where} has no such column; it has {', '.join(features)}")
    return column


def image_column(features: Features, chosen: str | None, where: str) -> str:
    """The image column. Errors: none, several without a usual name, or `chosen` does not exist."""
    if chosen is not None:
        return require(features, chosen, "image_column", where)
    found = _pick(_image_columns(features), IMAGE_NAMES, "image", option("image_column"), where)
    if found is None:
        raise InputError(
            f"{where} has no image column: expected an Image feature, bytes, or a struct of bytes and path; "
            f"its columns are {', '.join(features)} (name one with {option('image_column')}; one of text is read as "
            f"paths of files, as texts with {option('text_columns')})"
        )
    return found


def _image_columns(features: Features) -> list[str]:
    from datasets import Image

    typed = [name for name, feature in features.items() if isinstance(feature, Image)]
    return typed or [name for name, feature in features.items() if _is_image(feature)]


def text_columns(features: Features, options: SourceOptions, where: str) -> tuple[str, ...] | None:
    """The column of the texts, the two of pairs of texts, or None where these are images.

    Errors: `InputError` where texts are asked for and are not there.
    """
    from datasets import Value

    texts = {
        name.lower(): name
        for name, feature in features.items()
        if isinstance(feature, Value) and feature.dtype in ("string", "large_string", "string_view")
    }
    if options.text_columns is not None:
        chosen = tuple(name.strip() for name in options.text_columns.split(","))
        if len(chosen) > 2 or not all(chosen):
            raise InputError(
                f"{option('text_columns', options.text_columns)}: expected one column or two, as in premise,hypothesis"
            )
        for name in chosen:
            require(features, name, "text_columns", where)
            if name not in texts.values():
                raise InputError(f"{option('text_columns', name)}: the column of {where} holds no text ({features[name]})")
        return chosen
    asked = next((name for name in ("tokenizer", "max_length") if getattr(options, name) is not None), None)
    if options.image_column is None and not _image_columns(features):
        for names in TEXT_NAMES:
            if all(name in texts for name in names):
                return tuple(texts[name] for name in names)
    if asked is not None:
        raise InputError(
            f"{option(asked, getattr(options, asked))} is for texts: {where} has no text column with a usual name; its columns "
            f"are {', '.join(features)} (name one with {option('text_columns')})"
        )
    return None


def label_column(features: Features, chosen: str | None, where: str) -> str:
    """The label column. Errors: none, several without a usual name, or `chosen` does not exist."""
    if chosen is not None:
        return require(features, chosen, "label_column", where)
    from datasets import ClassLabel

    typed = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    named = [name for name, feature in features.items() if name.lower() in LABEL_NAMES and _is_label(feature)]
    found = _pick(typed or named, LABEL_NAMES, "label", option("label_column"), where)
    if found is None:
        raise InputError(
            f"{where} has no label column: expected a ClassLabel feature or one called {', '.join(LABEL_NAMES)}; "
            f"its columns are {', '.join(features)} (name one with {option('label_column')})"
        )
    return found


def class_names(features: Features, column: str) -> tuple[str, ...] | None:
    """The names behind integer labels, or None where the column carries none."""
    from datasets import ClassLabel

    feature = features[column]
    return tuple(feature.names) if isinstance(feature, ClassLabel) else None
