"""Numbered files of one split: whether they belong together, and whether all are there."""

from __future__ import annotations

import re
from pathlib import Path

from refluence.errors import InputError

_OF = re.compile(r"(?P<before>.*?)(?P<number>\d{5})-of-(?P<total>\d{5}).*")
_PLAIN = re.compile(r"(?P<before>|.*[-_.])(?P<number>0\d{3,}|\d{5,}).*(?P<total>)")


def _numbered(paths: list[Path]) -> list[re.Match[str]]:
    """The names that hold a number of five digits, or one of four and more that begins with 0."""
    matches = [_OF.fullmatch(path.name) or _PLAIN.fullmatch(path.name) for path in paths]
    return [match for match in matches if match]


def belong_together(paths: list[Path]) -> bool:
    """Whether the files are one table: a single file, or all numbered and of one name."""
    shards = _numbered(paths)
    return len(paths) == 1 or (len(shards) == len(paths) and len({shard["before"] for shard in shards}) == 1)


def refuse_missing(paths: list[Path]) -> None:
    """`InputError` where the numbers say that files are absent, or where those of two versions are mixed."""
    shards = _numbered(paths)
    if not shards or (len(shards) == 1 and not shards[0]["total"]):
        return
    totals, numbers = {shard["total"] for shard in shards}, {int(shard["number"]) for shard in shards}
    if len(totals) > 1:
        raise InputError(f"{paths[0].parent} mixes shards of several versions ({paths[0].name}, {paths[-1].name}): keep one")
    total, first = totals.pop(), 0 if 0 in numbers else 1
    count = int(total) if total else max(numbers) + 1 - first
    missing = sorted({*range(first, first + count)} - numbers)
    if not missing:
        return
    shard = shards[0]
    absent = shard["before"] + str(missing[0]).zfill(len(shard["number"])) + shard.string[shard.end("number") :]
    more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
    raise InputError(
        f"{paths[0].parent} holds {len(numbers)} of {count} shards: {absent} is missing{more}; fetch what is missing, or lay "
        f"the shards that you want into a folder of their own, numbered as if they were all"
    )
