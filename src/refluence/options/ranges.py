"""Which steps of a sampling are guided, as text: by log-SNR, or as shares of the steps that are left."""

from __future__ import annotations

from refluence.errors import InputError, stated

LOW, HIGH = -8.22, -3.6
"""In log-SNR, log(abar / (1 - abar)): the published steps 30 to 45 of 50 on DiT's linear schedule, t = 600 to 900 by 20."""
USUAL_RANGE = f"{LOW:g}:{HIGH:g}"
RANGES = {"entropy": "-6.42:10", "modes": "50%:100%"}
"""Of other guidance than IGD's, where none is said: t <= 795 on the same schedule (UAG), the first half of the steps (MGD3)."""


def read_range(text: str) -> tuple[float, float, tuple[float, float] | None]:
    """Lowest and highest log-SNR, and in their place shares of the steps left where the text has them.

    Raises:
        InputError: none of both, or the higher first.

    Example:
        >>> read_range("-8:-3"), read_range("60%:90%")
        ((-8.0, -3.0, None), (-8.22, -3.6, (0.6, 0.9)))
    """
    first, colon, second = text.partition(":")
    shares = first.endswith("%") and second.endswith("%")
    try:
        low, high = (float(part.removesuffix("%") if shares else part) for part in (first, second))
    except ValueError:
        low, high = 1.0, 0.0
    if not colon or not low <= high or (shares and not 0 <= low <= high <= 100):
        raise InputError(f"{stated('range', text)}: it must be two numbers, the lower first, as {USUAL_RANGE} or 60%:90%")
    if shares:
        return LOW, HIGH, (low / 100, high / 100)
    return low, high, None
