"""A run's folder: one run each, its configuration complete and versioned, its metrics one JSON line a step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from refluence.errors import InputError, RunError, option, says_flags
from refluence.files import Json, check_writable, read_json, write_json, write_text
from refluence.locks import held, refuse_held
from refluence.run.differences import MACHINE, differences, differing_options
from refluence.version import __version__

VERSION = 1
CONFIG = "config.json"
METRICS = "metrics.jsonl"
KEYS = ("version", "command", "arguments", "resolved")
LOCK = ".lock"
SAID = 3  # differences that an error names
ENDING = 5.0  # seconds in which the workers of a killed run have ended


def check_free(folder: Path, command: str, resume: bool, locked: bool = False) -> None:
    """Refuse a folder that cannot become (or, with `resume`, is not) a run of this command. Nothing is written.

    `locked`: this process holds it; else one that another process holds is refused.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: {option('out')} takes a folder")
    if not locked:
        refuse_held(folder / LOCK, str(folder))
    if (folder / CONFIG).exists():
        if not resume:
            raise InputError(
                f"{folder} already holds a run: add {option('resume')} to continue it, or choose another {option('out')}"
            )
        if (held := configuration(folder)["command"]) != command:
            raise InputError(f"{folder} holds a run of '{held}', not of '{command}': choose another {option('out')}")
        return
    if folder.exists() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no Refluence run: choose a new folder for {option('out')}")
    check_writable(folder / CONFIG)


@contextmanager
def claimed(
    folder: Path,
    command: str,
    arguments: Json,
    resolved: Json,
    resume: bool,
    *,
    outcome: Sequence[str] = (),
    growing: Sequence[str] = (),
) -> Iterator[bool]:
    """Hold `folder` for this run inside the block; anything that is another run is an `InputError`, and nothing is written.

    `arguments` is what was asked (for `repeat`), `resolved` the same with every default: a folder is resumed only where
    `resolved` is equal, but for the lists and dicts named in `growing`, which may have more than before. What a killed process
    left half-written is removed. Yields whether the run is finished: every file of `outcome` is there, and it needs no lock.
    The outcome of a run that grows is removed.
    """
    check_free(folder, command, resume)
    whole = bool(outcome) and all((folder / name).exists() for name in (CONFIG, *outcome))
    if whole and not grows(folder, arguments, resolved, growing):
        yield True
        return
    with locked(folder):
        check_free(folder, command, resume, locked=True)  # another process may have been here since
        if not (folder / CONFIG).exists():
            write_config(folder, command, arguments, resolved)
        elif grows(folder, arguments, resolved, growing):
            for name in outcome:
                (folder / name).unlink(missing_ok=True)
            write_config(folder, command, arguments, resolved)
        for part in folder.rglob(".*.part"):
            part.unlink(missing_ok=True)
        yield False


@contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of `folder`; `InputError` where another process holds it after `wait` seconds."""
    with held(folder / LOCK, str(folder), wait):
        yield


def recorded_threads(folder: Path) -> int:
    """The threads that the run in `folder` computes with; 0 where there is none. A resumed run keeps them: they decide bits."""
    if not (folder / CONFIG).exists():
        return 0
    machine = configuration(folder)["resolved"].get(MACHINE)
    found = machine.get("threads") if isinstance(machine, dict) else None
    return found if isinstance(found, int) else 0


def grows(folder: Path, arguments: Json, resolved: Json, growing: Sequence[str] = ()) -> bool:
    """Whether more is asked for than the run in `folder` holds. `InputError` for less, and for another run."""
    there = configuration(folder)
    stored, asked, more = there["resolved"], json.loads(json.dumps(resolved)), False
    for name in growing:
        held, wanted = stored.get(name, type(asked[name])()), asked[name]
        if missing := [str(each) for each in held if each not in wanted]:
            raise InputError(
                f"{folder} holds the {name} {', '.join(map(str, held))}, and {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not asked for: a run may grow, not shrink; give these too, or choose "
                f"another {option('out')}"
            )
        more |= len(wanted) > len(held)
        asked[name] = {each: wanted[each] for each in held} if isinstance(held, dict) else held
    check_same(folder, stored, asked, differing_options(there["arguments"], arguments))
    return more


def check_same(place: Path, stored: Json, resolved: Json, options: Sequence[str] = ()) -> None:
    """`InputError` that names the first differences where what `place` holds was made from something else.

    `options` are those that were given otherwise (`differing_options`), where they are known.
    """
    if differing := differences(stored, resolved, options):
        more = f"; and {len(differing) - SAID} more" if len(differing) > SAID else ""
        raise InputError(
            f"{place} holds another run ({'; '.join(differing[:SAID])}{more}): give the same "
            f"{'flags' if says_flags() else 'options'}, or choose another {option('out')}"
        )


def write_config(folder: Path, command: str, arguments: Json, resolved: Json) -> None:
    """Write config.json."""
    facts = {"version": VERSION, "refluence": __version__, "command": command}
    write_json(folder / CONFIG, {**facts, "arguments": arguments, "resolved": resolved})


def configuration(folder: Path) -> Json:
    """The configuration of the run in `folder`, of this version."""
    if not folder.is_dir():
        raise InputError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}: give the folder of a run")
    if not (folder / CONFIG).exists():
        raise InputError(f"{folder} holds no Refluence run (there is no {CONFIG} in it)")
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("version") != VERSION:
        found = config.get("version") if isinstance(config, dict) else None
        raise InputError(f"{folder / CONFIG} has version {found}, this Refluence reads {VERSION}: make the run again")
    if missing := [key for key in KEYS if key not in config]:
        raise InputError(f"{folder / CONFIG} is not whole: it lacks {', '.join(missing)}; make the run again")
    return config


class Metrics:
    """`metrics.jsonl`: one line a step, cut back to the checkpoint when a run is resumed."""

    def __init__(self, path: Path, steps: int):
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:  # the half line of a killed run
                    break
                if record["step"] < steps:
                    kept.append(line)
        self.path = path
        write_text(path, "".join(line + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, record: Json) -> None:
        """Append one record."""
        line = json.dumps(record, allow_nan=False)
        try:
            self._file.write(line + "\n")
        except OSError as error:  # a full disk
            raise RunError(f"cannot write {self.path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
