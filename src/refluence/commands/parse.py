"""From words to the flags of a command. tyro reads them; its boxes of errors become one line."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass

import tyro

from refluence.commands.flags import COMMANDS
from refluence.commands.tyro_fields import for_tyro
from refluence.errors import InputError
from refluence.fields import Setting, settings_of

NARROWEST = 40  # columns of a terminal that help is wrapped for: tyro does not end in a few
ESTIMATE = "estimate"
ESTIMATE_HELP = """usage: refluence estimate compare|distill|score FLAGS

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
        if not rest or rest[0] not in ("compare", "distill", "score"):
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
        raise InputError(f"{shown}: {_one_line(box.getvalue(), kind)}; refluence {shown} --help explains every flag") from None
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


def _one_line(box: str, kind: type) -> str:
    """What a box of tyro says."""
    lines = [line.strip(" │|╭╮╰╯─\t") for line in box.splitlines()]
    lines = [line for line in lines if set(line) - {"-"} and "full helptext" not in line]
    text = " ".join(lines)
    if text.startswith("Required"):
        text, _, unknown = text.partition("Unrecognized options:")
        flags, others = (list(dict.fromkeys(re.findall(r"--(?!help)[a-z][a-z-]*", part))) for part in (text, unknown))
        place = "the folder DIR" if "folder" in settings_of(kind) else "RECIPE (see refluence ls)"
        missing = flags or [place]
        beside = f", and there is no {' and no '.join(others)}" if others else ""
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing{beside}"
    if found := re.search(r"Unrecognized options: (.*?)(?: Perhaps you meant:.*?(--[a-z-]+)|$)", text):
        return f"there is no {found[1]}" + (f" (did you mean {found[2]}?)" if found[2] else "")
    if found := re.search(r"invalid choice (.+?) for argument '(.+?)'\. Expected one of \((.+?)\)", text):
        return f"{found[2]} {found[1]}: choose one of {', '.join(_setting(found[2], kind).choices)}".replace("'", "")
    if found := re.search(r"Error parsing (--[a-z-]+): .*?: ?'?([^']*)'", text):
        number = _setting(found[1], kind).number
        what = "a whole number" if number is int else "a number" if number is float else "another value"
        given = re.search(r"from \['(.*?)'\]", text)
        return f"{found[1]} {given[1] if given else found[2]}: expected {what}"
    if found := re.search(r"Missing value for argument '(.+?)'", text):
        return f"{found[1]} needs a value"
    return text


def _setting(flag: str, kind: type) -> Setting:
    return settings_of(kind)[flag[2:].replace("-", "_")]
