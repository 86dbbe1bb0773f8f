"""Columns and files that the options of a source name, and errors about them."""

from __future__ import annotations

from dataclasses import replace

from refluence.errors import InputError
from refluence.options import SourceOptions


class NoColumnError(InputError):
    """A flag names a column that a source does not have. `flag` is the field of `SourceOptions`."""

    def __init__(self, flag: str, message: str):
        super().__init__(message)
        self.flag = flag

    def without(self, options: SourceOptions) -> SourceOptions:
        """The options without that flag."""
        if self.flag == "image_column":
            return replace(options, image_column=None)
        return replace(options, label_column=None) if self.flag == "label_column" else replace(options, group_column=None)


def split_pair(value: str, flag: str, form: str) -> tuple[str, str]:
    """`FILE:REST` cut at the last colon. `InputError` names the flag and its form where there is no colon."""
    file, colon, rest = value.rpartition(":")
    if not (colon and file and rest):
        raise InputError(f"{flag} {value}: expected {form}")
    return file, rest


def refuse_columns(options: SourceOptions, why: str) -> None:
    """`NoColumnError` where a column is named of a source that has none."""
    for flag, value in (
        ("image_column", options.image_column),
        ("label_column", options.label_column),
        ("group_column", options.group_column),
    ):
        if value is not None:
            raise NoColumnError(flag, f"--{flag.replace('_', '-')} {value}: {why}")
