"""A file of results, one JSON line a row, that several sittings append to: a kill loses at most the row being written.

Only a coordinator appends, never a worker of it; two coordinators with one file wait for each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from refluence.errors import InputError, RunError
from refluence.files import Json
from refluence.locks import held
from refluence.run.execute import in_worker

Row = Json
PATIENCE = 30.0  # seconds to wait for another coordinator that appends


def read_rows(path: Path) -> list[Row]:
    """Every whole row; none where there is no file. A last line without its end is what a kill left, and is passed over."""
    if not path.exists():
        return []
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    rows = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number} is no row: one JSON object a line; take the line out")
        rows.append(row)
    return rows


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows in one write, on the disk when this returns. What a kill left half-written at the end is cut off first."""
    assert not in_worker(), "only the coordinator writes rows: work returns its own"
    data = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with held(path.with_name(f".{path.name}.lock"), str(path), PATIENCE), path.open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None
