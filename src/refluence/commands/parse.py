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

from refluence.commands.flags import COMMANDS, GENERATE
from refluence.commands.mistyped import one_line
from refluence.commands.tyro_fields import for_tyro
from refluence.errors import InputError, did_you_mean

NARROWEST = 40  # columns of a terminal that help is wrapped for: tyro does not end in a few
ESTIMATE = "estimate"
GROUP = "generate"
ESTIMATED = ("compare", "distill", "transfer", "score", "generate sample")
ESTIMATE_HELP = """usage: refluence estimate COMMAND FLAGS

Measure a few steps and say what the whole run would take: time, peak memory,
bytes to be stored. Nothing is written. COMMAND is compare, distill, transfer,
generate sample or score. The flags are those of the command; --out is not
needed.

For example:
  refluence estimate distill --data digits --weights influence --ipc 10
  refluence estimate generate sample --data digits --guidance influence"""
GROUP_HELP = """usage: refluence generate train|finetune|sample FLAGS

A small set whose images are sampled from a diffusion model of your data,
steered by influence (which images teach) and by diversity.

train     a denoiser, from scratch
  refluence generate train --data digits --out runs/denoiser

finetune  a denoiser by Minimax: representative, diverse
  refluence generate finetune --data digits --denoiser runs/denoiser \\
                              --method minimax --out runs/minimax

sample    the small set, judged like one of `refluence distill`
  refluence generate sample --data digits --denoiser runs/denoiser --ipc 10 \\
                            --guidance influence,deviation --out runs/igd

Help: refluence generate ACTION --help"""


def parse(words: list[str]) -> tuple[str, object]:
    """The module name of the command and its flags. `estimate` takes the flags of the command it stands before."""
    if words[0] == ESTIMATE:
        return ESTIMATE, _estimated(words[1:])
    name, rest = _named(words)
    if name not in COMMANDS:
        known = list(dict.fromkeys([*(command.partition(" ")[0] for command in COMMANDS), ESTIMATE]))
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown command '{name}': {hint}There are {', '.join(known)}; refluence --help says what each does")
    return name.replace(" ", "_"), parse_flags(name, rest, name)


def _named(words: list[str]) -> tuple[str, list[str]]:
    """The command by its name, of two words where it is an action of a group, and what stands behind it."""
    name, rest = words[0], words[1:]
    if name != GROUP:
        return name, rest
    if not rest or rest[0] in ("-h", "--help"):
        print(GROUP_HELP)
        raise SystemExit(0 if rest else 2)
    if rest[0] not in GENERATE:
        raise InputError(
            f"unknown action 'generate {rest[0]}': {did_you_mean(rest[0], list(GENERATE))}; refluence generate --help"
        )
    return f"{name} {rest[0]}", rest[1:]


def _estimated(words: list[str]) -> object:
    """The flags of the command that an estimate is asked of, `distill` or `compare` where it is not named."""
    if words and words[0] in ("-h", "--help"):
        print(ESTIMATE_HELP)
        raise SystemExit(0)
    if words and not words[0].startswith("-"):
        name, rest = _named(words)
        if name not in ESTIMATED:
            raise InputError(f"estimate takes the name of a command, {' or '.join(ESTIMATED)}, not '{name}'")
    else:
        name, rest = "compare" if "--methods" in words else "distill", words
    out = name == "score" or any(word.partition("=")[0] == "--out" for word in rest)
    return parse_flags(name, rest + ([] if out else ["--out", "."]), f"{ESTIMATE} {name}")


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
