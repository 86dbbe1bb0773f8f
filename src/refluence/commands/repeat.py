"""`refluence repeat DIR`: the same configuration again, and whether it came out the same."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from refluence.commands.session import relative
from refluence.errors import InputError
from refluence.run.folder import configuration


def run(flags: Any) -> None:
    """Run DIR/config.json into another folder and compare the distilled sets byte by byte."""
    from refluence.cli import COMMANDS

    config = configuration(flags.folder)
    kind = COMMANDS.get(config["command"])
    if kind is None:
        raise InputError(f"{flags.folder} was made by '{config['command']}', which cannot be repeated")
    out = flags.out if flags.out is not None else flags.folder.with_name(f"{flags.folder.absolute().name}-repeat")
    known = {f.name for f in fields(kind)}
    stored = {k: tuple(v) if isinstance(v, list) else v for k, v in config["arguments"].items() if k in known}
    again = kind(**{**stored, "out": Path(out), "resume": flags.resume})
    import_module(f"refluence.commands.{config['command']}").run(again)
    before, after = _digests(flags.folder), _digests(Path(out))
    same = sum(before[name] == after.get(name) for name in before)
    print(f"{same} of {len(before)} distilled sets are the same bit for bit as in {relative(flags.folder)}")


def _digests(folder: Path) -> dict[str, str]:
    found = sorted(folder.glob("**/distilled/images.safetensors"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}
