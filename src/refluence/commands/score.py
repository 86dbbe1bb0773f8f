"""`refluence score`: which training instances help and which harm; against validation data, or against a distilled set."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from refluence.commands.score_distilled import against_distilled
from refluence.commands.score_validation import against_validation
from refluence.errors import InputError
from refluence.files import check_writable
from refluence.options import ScoreOptions


def run(flags: Any) -> None:
    """Refuse what cannot be, then score."""
    if flags.out.suffix != ".parquet" or flags.out.is_dir():
        raise InputError(f"--out {flags.out}: the scores are written as Parquet, so name a file that ends in .parquet")
    check_writable(flags.out)
    if flags.out.exists() and not flags.resume:
        raise InputError(f"--out {flags.out} is there already: choose another file, or add --resume to leave it as it is")
    if flags.distilled is None:
        if flags.data is None:
            raise InputError("--data SRC is missing: name what to score (or --distilled DIR, which knows its data)")
        against_validation(flags)
        return
    for field in fields(ScoreOptions):
        if (value := getattr(flags, field.name)) is not None:
            flag = f"--{field.name.replace('_', '-')}"
            raise InputError(f"{flag} {value} is for scores against validation data: leave out {flag}, or --distilled")
    against_distilled(flags)
