"""Whether the scores of a table are of the data as they are read here: by what its file says of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from refluence.data import noise, shift
from refluence.errors import InputError, option
from refluence.options import SourceOptions

ASKED = ("noise", "shift")  # options that `refluence score` states where they are asked for, and not otherwise


def same_source(theirs: str, ours: str) -> bool:
    """Whether two spellings name one source: a folder may have several."""
    return Path(theirs).resolve() == Path(ours).resolve()


def refuse_other_reading(facts: Mapping[str, object], options: SourceOptions, said: str) -> None:
    """`InputError` where the `facts` of a table state other `labels`, `noise` or `shift` than those of `options`.

    A table that does not state `labels` is of an earlier version, or made by hand: nothing is known. One of `refluence score`
    that does not state noise or shift was made without, as earlier versions had neither.
    """
    for name in ("labels", *ASKED):
        if name in facts or (name in ASKED and facts.get("kind") == "validation"):
            theirs, ours = facts.get(name), getattr(options, name)
            if not _same(name, theirs, ours):
                stated = f"without {option(name)}" if theirs is None else f"with {option(name, theirs)}"
                here = "without" if ours is None else f"with {option(name, ours)}"
                raise InputError(f"{said}: the scores are of data {stated}, and here they are read {here}: score these")


def _same(name: str, theirs: object, ours: str | None) -> bool:
    if theirs is None or ours is None or theirs == ours:
        return theirs == ours
    try:
        return _meaning(name, str(theirs)) == _meaning(name, ours)
    except InputError:
        return False


def _meaning(name: str, text: str) -> object:
    """What an option's text says: a file of labels may lie in another folder, and .4 is 0.4."""
    if name == "labels":
        file, _, column = text.rpartition(":")
        return Path(file).name, column
    return noise.read(SourceOptions(noise=text)) if name == "noise" else shift.read(SourceOptions(shift=text))
