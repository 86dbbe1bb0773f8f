"""How parts of an input are drawn: mostly as usual, at times as one of the odd ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Callable[..., Any]


def mostly(draw: Draw, usual: Any, odd: Sequence[Any], often: int = 4) -> Any:
    """`usual` in `often` of `often + 1` draws, else one of the odd ones."""
    return draw(st.sampled_from(odd)) if draw(st.integers(0, often)) == often else usual


def any_of(draw: Draw, values: Sequence[Any]) -> Any:
    """One of the values."""
    return draw(st.sampled_from(values))


def some_of(draw: Draw, values: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the values, none half of the time."""
    return draw(st.lists(st.sampled_from(values), max_size=most)) if draw(st.booleans()) else []
