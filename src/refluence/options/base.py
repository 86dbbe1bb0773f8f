"""What all groups of options share: a dataclass that checks its own values."""

from __future__ import annotations

from refluence.fields import check


class Options:
    """A dataclass that checks its own values."""

    def __post_init__(self) -> None:
        check(self)
