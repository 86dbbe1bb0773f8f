"""The seconds by which arms get equal time: of processors where these compute, since other work stretches those on the wall.

A pool of as many seconds, or an arm at equal seconds, would else be as large as the machine was busy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from refluence.files import Json

SECONDS = ("seconds", "teacher_seconds")


def by_processors(rows: Sequence[Json], device: torch.device) -> bool:
    """Whether processors compute, and every row says their seconds; rows of earlier versions do not."""
    return device.type == "cpu" and all("cpu_seconds" in row for row in rows)


def timed(rows: Sequence[Json], processors: bool) -> list[Json]:
    """The rows, of which `seconds` and `teacher_seconds` are those that decide: of processors, or on the wall."""
    if not processors:
        return list(rows)
    return [{**row, **{name: row[own] for name in SECONDS if (own := of_processors(name)) in row}} for row in rows]


def of_processors(name: str) -> str:
    """What a number of seconds on the wall is called where it is of processors."""
    return name.removesuffix("seconds") + "cpu_seconds"
