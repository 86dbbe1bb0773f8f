"""`refluence export DIR`: the distilled set for other tools."""

from __future__ import annotations

from typing import Any

from refluence.data import export


def run(flags: Any) -> None:
    """Write the set in another format and say what that costs."""
    out = flags.out if flags.out is not None else flags.folder / f"export-{flags.format}"
    print(export(flags.folder / "distilled", flags.format, out))
