"""A run's folder: one run each, its configuration complete and versioned, its metrics one JSON line a step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from refluence.errors import InputError
from refluence.files import read_json, write_json, write_text

VERSION = 1


def claim(folder: Path, command: str, arguments: dict[str, Any], resolved: dict[str, Any], resume: bool) -> None:
    """Make `folder` this run's, or recognise it as this run's; anything else is an `InputError` and nothing is written.

    `arguments` is what was asked (for `repeat`), `resolved` what it came to: a folder is resumed only where `resolved`
    is equal.
    """
    path = folder / "config.json"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: --out takes a folder")
    if path.exists():
        if not resume:
            raise InputError(f"{folder} already holds a run: add --resume to continue it, or choose another --out")
        _same(folder, read_json(path), {"command": command, "resolved": resolved})
        return
    if folder.exists() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no Refluence run: choose a new folder for --out")
    parent = next(p for p in [folder, *folder.absolute().parents] if p.exists())
    if not os.access(parent, os.W_OK):
        raise InputError(f"cannot write to {parent}: choose an --out folder that you may write to")
    write_json(path, {"version": VERSION, "command": command, "arguments": arguments, "resolved": resolved})


def configuration(folder: Path) -> dict[str, Any]:
    """The configuration of the run in `folder`, of this version."""
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} holds no Refluence run (there is no config.json in it)")
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or config.get("version") != VERSION:
        found = config.get("version") if isinstance(config, dict) else None
        raise InputError(f"{folder}/config.json has version {found}, this Refluence reads {VERSION}: make the run again")
    return config


def _same(folder: Path, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    configuration(folder)
    if stored["command"] != asked["command"]:
        raise InputError(f"{folder} holds a run of '{stored['command']}', not of '{asked['command']}': choose another --out")
    differing = sorted(_differences(stored["resolved"], json.loads(json.dumps(asked["resolved"]))))
    if differing:
        raise InputError(f"{folder} holds another run ({'; '.join(differing[:3])}): choose another --out")


def _differences(stored: Any, asked: Any, name: str = "") -> list[str]:
    if isinstance(stored, dict) and isinstance(asked, dict):
        keys = {**stored, **asked}
        return [d for k in keys for d in _differences(stored.get(k), asked.get(k), f"{name}.{k}" if name else str(k))]
    return [] if stored == asked else [f"{name} is {stored!r} there, {asked!r} here"]


class Metrics:
    """`metrics.jsonl`: one line a step, cut back to the checkpoint when a run is resumed."""

    def __init__(self, path: Path, steps: int):
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:  # the half line of a killed run
                    break
                if record["step"] < steps:
                    kept.append(line)
        write_text(path, "".join(line + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        self._file.write(json.dumps(record, allow_nan=False) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
