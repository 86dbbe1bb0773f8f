"""Numbers as a reader wants them: a real minus sign, a unit, a dash for what was not measured. No 'nan' on the page."""

from __future__ import annotations

import json
import math
from typing import SupportsFloat

DASH = "–"


def finite(value: object) -> float | None:
    """The value as a float, or None where it is missing, not a number or infinite."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, SupportsFloat)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def mean(values: list[float | None]) -> float | None:
    """Mean of what is there; None if nothing is."""
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def deviation(values: list[float]) -> float | None:
    """Standard deviation (n - 1); None below two values."""
    if len(values) < 2:
        return None
    centre = sum(values) / len(values)
    return math.sqrt(sum((v - centre) ** 2 for v in values) / (len(values) - 1))


def fixed(value: object, digits: int = 1) -> str:
    """`12.3`; with a real minus sign."""
    number = finite(value)
    if number is None:
        return DASH
    text = f"{number:.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def signed(value: object, digits: int = 1) -> str:
    """`+0.4`, `−1.0`, `0.0`."""
    number = finite(value)
    if number is None:
        return DASH
    text = fixed(number, digits)
    return "+" + text if number > 0 and float(text) else text


def compact(value: object, sign: bool = False) -> str:
    """Three significant digits, of any size: `0.0213`, `−1.2e−5`."""
    number = finite(value)
    if number is None:
        return DASH
    if number == 0:
        return "0"
    small = abs(number) < 1e-3 or abs(number) >= 1e5
    text = f"{number:.1e}".replace("e-0", "e-").replace("e+0", "e+") if small else f"{number:.3g}"
    if "e" in text and not small:
        text = f"{number:.0f}"
    return ("+" if sign and number > 0 else "") + text.replace("-", "−")


def common_unit(largest: float) -> tuple[float, str, int]:
    """A power of ten that makes numbers up to `largest` short, its name, the decimals to print: (1e-4, "10⁻⁴", 2)."""
    exponent = math.floor(math.log10(largest)) if largest > 0 else 0
    if -2 <= exponent <= 3:
        return 1.0, "", min(4, max(0, 2 - exponent))
    return 10.0**exponent, "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")), 2


def amount(value: object) -> str:
    """Bytes with a unit that keeps the number short: `1.2 MB` (powers of 1000)."""
    number = finite(value)
    if number is None:
        return DASH
    for name in ("B", "kB", "MB", "GB"):
        if abs(number) < 999.5:
            return f"{number:.0f} {name}" if name == "B" or abs(number) >= 100 else f"{number:.1f} {name}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(value: object) -> str:
    """Seconds as `4.2 s`, `3 min 12 s`, `2 h 5 min`."""
    seconds = finite(value)
    if seconds is None:
        return DASH
    if 0 < seconds < 0.05:
        return "< 0.1 s"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, thing: str, plural: str | None = None) -> str:
    """`1 class`, `3 classes`."""
    return f"{count:,} {thing if count == 1 else plural or thing + 's'}".replace(",", "\u202f")


def pretty(value: object) -> str:
    """JSON of any configuration, with what is not finite written as null."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
