"""`refluence repeat DIR`: the same configuration again, and whether it came out the same."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from refluence.commands.flags import COMMANDS
from refluence.commands.session import relative
from refluence.errors import InputError
from refluence.jobs.open_run import require_finished
from refluence.models import read_spec
from refluence.run.folder import CONFIG, configuration


def run(flags: Any) -> None:
    """Run DIR/config.json into another folder and compare the distilled sets byte by byte."""
    config = configuration(flags.folder)
    if config["command"] == "run":
        raise InputError(f"{flags.folder} holds a recipe: repeat one of its parts, {flags.folder}/PART")
    require_finished(flags.folder, config)
    kind = COMMANDS.get(config["command"])
    if kind is None:
        raise InputError(f"{flags.folder} was made by '{config['command']}', which cannot be repeated")
    here = flags.folder.absolute()
    out = flags.out if flags.out is not None else flags.folder.parent / f"{here.name}-repeat"
    if out.absolute() == here:
        raise InputError(f"--out {out} is the run itself: choose a new folder")
    known = {f.name for f in fields(kind)}
    stored = {k: tuple(v) if isinstance(v, list) else v for k, v in config["arguments"].items() if k in known}
    try:
        again = kind(**{**stored, "out": out, "resume": flags.resume})
    except TypeError as error:
        raise InputError(f"{flags.folder / CONFIG} lacks arguments of {config['command']}: {error}") from None
    for job in stored_jobs(config):
        read_spec(job["model"]).verify()
    import_module(f"refluence.commands.{config['command']}").run(again)
    before, after = _digests(flags.folder), _digests(out)
    other = [name for name in before if before[name] != after.get(name)]
    what, where = f"{len(before)} distilled set{'s' * (len(before) > 1)}", relative(flags.folder)
    if not other:
        print(f"{what}: the same bit for bit as in {where}")
    else:
        listed = ", ".join(other[:5]) + (", …" if len(other) > 5 else "")
        print(f"{what}, {len(other)} not the same bit for bit as in {where}: {listed}")


def stored_jobs(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The jobs in a configuration, as they are stored."""
    resolved = config["resolved"]
    return [resolved["unit"]] if "unit" in resolved else list(resolved.get("arms", {}).values())


def _digests(folder: Path) -> dict[str, str]:
    """A digest of every distilled set, by the folder that holds it."""
    found = sorted(folder.glob("**/distilled/images.safetensors"))
    names = [str(path.parent.parent.relative_to(folder)) for path in found]
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in zip(names, found, strict=True)}
