"""From words to the flags of a command. tyro reads them; its boxes of errors become one line."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass

import tyro

from refluence.commands.flags import COMMANDS
from refluence.commands.mistyped import one_line
from refluence.commands.tyro_fields import for_tyro
from refluence.errors import InputError

NARROWEST = 40  # columns of a terminal that help is wrapped for: tyro does not end in a few
ESTIMATE = "estimate"
ESTIMATED = ("compare", "distill", "transfer", "score")
ESTIMATE_HELP = """usage: refluence estimate compare|distill|transfer|score FLAGS

Measure a few steps and say what the whole run would take: time, peak memory,
bytes to be stored. Nothing is written. The flags are those of the command;
--out is not needed.

For example:
  refluence estimate distill --data digits --weights influence --ipc 10"""


def parse(words: list[str]) -> tuple[str, object]:
    """The module name of the command and its flags. `estimate` takes the flags of the command it stands before."""
    name, rest = words[0], words[1:]
    if name == ESTIMATE:
        if rest and rest[0] in ("-h", "--help"):
            print(ESTIMATE_HELP)
            raise SystemExit(0)
        if rest and not rest[0].startswith("-") and rest[0] not in ESTIMATED:
            raise InputError(f"estimate takes the name of a command, {' or '.join(ESTIMATED)}, not '{rest[0]}'")
        if not rest or rest[0] not in ESTIMATED:
            rest = ["compare" if "--methods" in rest else "distill", *rest]
        out = rest[0] == "score" or any(word.partition("=")[0] == "--out" for word in rest)
        return ESTIMATE, parse_flags(rest[0], rest[1:] + ([] if out else ["--out", "."]), f"{ESTIMATE} {rest[0]}")
    if name not in COMMANDS:
        known = [*COMMANDS, ESTIMATE]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown command '{name}': {hint}There are {', '.join(known)}; refluence --help says what each does")
    return name, parse_flags(name, rest, name)


def parse_flags(command: str, words: list[str], shown: str) -> object:
    """Flags of one command as its dataclass. `shown` is the command as the user called it."""
    kind = COMMANDS[command]
    helping = any(word in ("-h", "--help") for word in words)
    columns = max(NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 80
    width = str(columns) if helping else "100000"  # an error must not be wrapped
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box), _columns(width):
            read: object = tyro.cli(for_tyro(kind), args=words, prog=f"refluence {shown}")
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(
            f"{shown}: {one_line(box.getvalue(), kind, words)}; refluence {shown} --help explains every flag"
        ) from None
    return kind(**dict(_values(read)))


def _values(read: object) -> Iterator[tuple[str, object]]:
    """Flags by name, whatever group they stand in."""
    for name, value in vars(read).items():
        yield from _values(value) if is_dataclass(value) else [(name, value)]


@contextlib.contextmanager
def _columns(width: str) -> Iterator[None]:
    """The width that tyro wraps its text at."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = width
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
