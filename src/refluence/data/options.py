"""How a data source is to be read: plain values, so that a run's `config.json` can hold them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from refluence.errors import InputError

SMALL_CLASSES = ("refuse", "cap", "drop")


@dataclass(frozen=True)
class SourceOptions:
    """The data flags of the command line. Every field is a JSON value.

    `labels` is `FILE:COLUMN` (other labels for the stored train split, row by row), `drop` is `scores.parquet:share`
    with 0 < share < 1, `image_size` is in pixels, `validation` is another source, `val_fraction` is the share of train that
    becomes validation where no split of its own does.
    """

    image_column: str | None = None
    label_column: str | None = None
    labels: str | None = None
    group_column: str | None = None
    image_size: int | None = None
    small_classes: str = "refuse"
    skip_corrupt: bool = False
    drop: str | None = None
    validation: str | None = None
    val_fraction: float = 0.1

    def __post_init__(self) -> None:
        if self.small_classes not in SMALL_CLASSES:
            raise InputError(f"--small-classes {self.small_classes}: choose one of {', '.join(SMALL_CLASSES)}")
        if not 0 < self.val_fraction < 1:
            raise InputError(f"the validation share {self.val_fraction} must lie between 0 and 1 (0.1 is the default)")
        if self.image_size is not None and self.image_size < 1:
            raise InputError(f"--image-size {self.image_size}: must be a positive number of pixels")


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
