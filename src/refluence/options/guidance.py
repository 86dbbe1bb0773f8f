"""The guidance of a sampled set as text, as `generate sample --guidance influence,deviation` has it."""

from __future__ import annotations

from refluence.errors import InputError, did_you_mean, option, stated

TOGETHER = ("influence", "deviation")
"""What guides a sampled set, each by itself; together they are the variant `igd`."""
ALONE = ("none", "entropy", "modes", "learnability")
"""What goes with no other guidance."""


def read_guidance(text: str, pool: bool) -> tuple[str, str]:
    """The guidance as one word, `igd` for influence with deviation, and the options behind its colon.

    Raises:
        InputError: an unknown guidance, some that do not go together, or a pool that is guided.

    Example:
        >>> read_guidance("influence,deviation:k=20", False), read_guidance("none", True)
        (('igd', 'k=20'), ('none', ''))
    """
    said, _, options = text.partition(":")
    parts = {part.strip() for part in said.split(",")}
    known = (*ALONE, *TOGETHER)
    if unknown := sorted(parts - {*known, "igd"}):
        raise InputError(f"{stated('guidance', text)}: {did_you_mean(unknown[0], (*known, ','.join(TOGETHER)))}")
    if len(parts) > 1 and (alone := [part for part in ALONE if part in parts]):
        raise InputError(f"{stated('guidance', text)}: {alone[0]} goes with no other")
    if pool and "none" not in parts:
        raise InputError(
            f"{option('pool')} is the rival of guidance, of images without it: leave out {option('guidance', text)}"
        )
    return ("igd" if "igd" in parts or parts == {*TOGETHER} else parts.pop()), options
