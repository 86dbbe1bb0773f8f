"""What decoding did to pictures of a split that a reader has to know: one line a kind, counted."""

from __future__ import annotations

from collections.abc import Iterable

from refluence.data.decode import Remark

FULL, FEW = 65535, 128  # what becomes white; levels of 256 up to which a line is due


def summary(remarks: Iterable[Remark]) -> dict[str, list[int]]:
    """Kind to how many pictures and the highest number, as JSON values."""
    found: dict[str, list[int]] = {}
    for kind, number in remarks:
        count, highest = found.get(kind, (0, number))
        found[kind] = [count + 1, max(highest, number)]
    return found


def notes(where: str, found: dict[str, list[int]]) -> list[str]:
    """The lines for what `summary` found in the split at `where`."""
    lines = []
    if frames := found.get("frames"):
        lines.append(f"{where}: {frames[0]} pictures have several frames (up to {frames[1]}): the first of each was taken")
    if below := found.get("below 0"):
        lines.append(f"{where}: {below[0]} pictures hold values below 0 (down to {-below[1]}), which became black")
    if deep := found.get("16 bits"):
        count, highest = deep
        levels = round(highest / 257) + 1
        if highest > FULL:
            lines.append(f"{where}: values of {count} pictures go up to {highest}: what is above {FULL} became white")
        elif levels <= FEW:
            bits = highest.bit_length()
            lines.append(
                f"{where}: {count} pictures of 16 bits hold values up to {highest}, so {levels} of 256 levels are left "
                f"({FULL} becomes white): if these have {bits} bits, store their values times {2 ** (16 - bits)}"
            )
    return lines
