"""How what a folder holds differs from what is asked for, in a few words: options first, then resolved values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields

from refluence.errors import option
from refluence.files import Json
from refluence.options import ScoreOptions, SetOptions, SourceOptions

MACHINE, CONSTANTS = "machine", "constants"
INFORMATIVE = ("cpus",)  # of the machine: said, but without a part in the result
ARMS, UNIT = "arms", "unit"
DECIDING = ("data", "distilled", "method", "weights", "guidance", "pool", "seed")
"""Arguments beside the groups of options that decide a result: `out` or `workers` do not."""
LONGEST = 60  # characters of a value in a message


def differing_options(stored: Json, asked: Json) -> list[str]:
    """The options that were given otherwise, as who called names them: `--epochs 20 there, 30 here`."""
    here: Json = json.loads(json.dumps(asked, default=str))
    known = dict.fromkeys([*DECIDING, *(f.name for kind in (SetOptions, SourceOptions, ScoreOptions) for f in fields(kind))])
    differing = [name for name in known if name in stored and name in here and stored[name] != here[name]]
    return [f"{option(name)} {_given(stored[name])} there, {_given(here[name])} here" for name in differing]


def differences(stored: Json, resolved: Json, options: Sequence[str] = ()) -> list[str]:
    """`options`, then what differs beside them. What follows from options (arms, units) is left out where some differ."""
    found = sorted(set(_leaves(stored, json.loads(json.dumps(resolved)))))
    if not found:
        return []
    apart = [each for each in found if not each.startswith((f"{ARMS}.", f"{UNIT}."))] if options else found
    return [*options, *apart]


def _leaves(stored: object, asked: object, name: str = "") -> list[str]:
    if isinstance(stored, dict) and isinstance(asked, dict):
        keys = dict.fromkeys([*stored, *asked])
        if name == MACHINE or name.startswith(CONSTANTS):  # what an earlier Refluence did not write is not held against it
            keys = {k: None for k in stored if k not in INFORMATIVE}
        if not name and CONSTANTS not in stored:
            keys.pop(CONSTANTS, None)
        file = next((key for key in ("name", "file") if stored.get(key) and asked.get(key)), None)
        if file is not None and "sha256" in keys:
            if stored[file] == asked[file] and stored["sha256"] != asked["sha256"]:
                return [f"{name}.sha256: {asked[file]} has changed"]
            if file == "file" and stored["sha256"] == asked["sha256"]:  # wherever it lies by now
                keys.pop(file)
        return [d for k in keys for d in _leaves(stored.get(k), asked.get(k), _below(name, k))]
    if isinstance(stored, list) and isinstance(asked, list) and len(stored) == len(asked) and _nested([*stored, *asked]):
        return [d for k, pair in enumerate(zip(stored, asked, strict=True)) for d in _leaves(*pair, f"{name}.{k}")]
    if stored == asked or (stored is None and not asked):  # an option that came later, and is off, changes nothing
        return []
    if isinstance(stored, dict) or isinstance(asked, dict):
        return [f"{name} is {'missing' if stored is None else 'there'}, {'not asked for' if asked is None else 'asked for'}"]
    return [f"{name} is {_short(repr(stored))} there, {_short(repr(asked))} here"]


def _below(name: str, key: str) -> str:
    """The name of a value inside. All arms have one, so that what differs in the same way in several is said once."""
    return f"{name}.*" if name == ARMS else f"{name}.{key}" if name else key


def _nested(values: list[object]) -> bool:
    return any(isinstance(value, dict) for value in values)


def _given(value: object) -> str:
    if value is None or value == []:
        return "not given"
    return _short(" ".join(map(str, value)) if isinstance(value, list) else str(value))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
