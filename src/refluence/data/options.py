"""Columns and files that the options of a source name, and errors about them."""

from __future__ import annotations

import math
from dataclasses import replace

from refluence.errors import InputError, option
from refluence.options import SourceOptions


class NoColumnError(InputError):
    """An option names a column that a source does not have. `name` is the field of `SourceOptions`."""

    def __init__(self, name: str, message: str):
        super().__init__(message)
        self.name = name

    def without(self, options: SourceOptions) -> SourceOptions:
        """The options without it."""
        if self.name == "image_column":
            return replace(options, image_column=None)
        if self.name == "text_columns":
            return replace(options, text_columns=None)
        return replace(options, label_column=None) if self.name == "label_column" else replace(options, group_column=None)


def split_pair(value: str, name: str, form: str) -> tuple[str, str]:
    """`FILE:REST` cut at the last colon. `InputError` names the option and its form where there is no colon."""
    file, colon, rest = value.rpartition(":")
    if not (colon and file and rest):
        raise InputError(f"{option(name, value)}: expected {form}")
    return file, rest


def share_of(text: str) -> float:
    """The number that a share says; not a number where it says none, so that no range holds it."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def refuse_columns(options: SourceOptions, why: str) -> None:
    """`NoColumnError` where a column is named of a source that has none."""
    for name, value in (
        ("image_column", options.image_column),
        ("text_columns", options.text_columns),
        ("label_column", options.label_column),
        ("group_column", options.group_column),
    ):
        if value is not None:
            raise NoColumnError(name, f"{option(name, value)}: {why}")
