"""Standard output and error that take any text: whatever the encoding of the terminal, and whether they are open or not."""

from __future__ import annotations

import codecs
import os
import re
import sys

SPELLED = {"…": "...", "±": "+-", "−": "-", "–": "-", "→": "->", "≥": ">=", "≤": "<=", "τ": "tau", "×": "x", "·": "*"}
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # with those that turn the direction of a text


def prepare() -> None:
    """Let both streams spell what their encoding has no character for; one that is closed takes all and shows nothing."""
    codecs.register_error("refluence", _spell)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (as long as the process lives)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="refluence")


def printable(text: str) -> str:
    """One line that cannot move the cursor or colour the terminal: control characters as backslash sequences."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """A sign that ASCII can say in its words, any other character as a backslash sequence."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(SPELLED.get(c) or c.encode("ascii", "backslashreplace").decode("ascii") for c in characters), error.end
