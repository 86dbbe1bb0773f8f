"""Is the difference real? Paired comparisons of arms over seeds, with an interval and with what n could have shown.

The unit is the seed: one distilled set, its accuracy averaged over its networks. For an arm A and its reference R
(references.py), with d_s = accuracy(A, s) - accuracy(R, s) over the n seeds that both have, mean d and standard deviation
sd_d (n - 1):

    interval        d +- t_{.975, n-1} sd_d / sqrt(n)
    smallest shown  t_{.975, n-1} sd_d / sqrt(n), the half-width: the smallest difference whose interval excludes 0
    p               paired t-test, two-sided; p_holm by Holm (1979) over every comparison but the primary one

Ours: the smallest difference is the one that this sample could show, not a power calculation. If all d_s are equal there is
no interval and no p: accuracies on n images are multiples of 100/n, so a few equal differences are no evidence of no spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, TypedDict

from refluence.arm import UNIFORM
from refluence.errors import InputError
from refluence.evaluate.references import by_influence, by_score, kind, place, references
from refluence.evaluate.relations import RANDOM

EQUAL = 1e-9  # percent points: differences closer than this differ by rounding alone


Row = Mapping[str, Any]
"""What is known of one judged set: `arm`, `seed`, `accuracy` and more."""


class Paired(TypedDict):
    """Paired differences, in percent points; None for what too few or only equal ones cannot give."""

    difference: float | None
    low: float | None
    high: float | None
    smallest_shown: float | None
    p: float | None
    p_holm: float | None
    pairs: int


class Summary(Paired):
    """An arm under a protocol, and its differences from one reference."""

    arm: str
    protocol: str | None
    mean: float
    sd: float | None
    n: int
    against: str | None
    primary: bool


def summarise(rows: Sequence[Row], primary: str | None = None, declared: Sequence[tuple[str, str]] = ()) -> list[Summary]:
    """One row per protocol, arm and reference (one without reference if it has none), in the order of `rows`.

    `rows` need `arm`, `seed`, `accuracy` (percent) and may name a `protocol`; those without a finite accuracy are left
    out. `primary` is the arm whose comparison with its uniform base (or random), in the first protocol, is declared beforehand
    and is not corrected (its p_holm is its p); by default the first arm with influence weights (in the order of
    references.place), else the first with by=score (evaluate/cleaning.py). `declared`: further pairs (arm, reference). Keys of
    a result: arm, protocol, mean, sd, n (of the arm); against, pairs, difference, low, high, smallest_shown, p, p_holm and
    primary. What cannot be computed is None: no NaN.
    Raises `InputError` if an arm has a seed twice, or if `primary` is no arm.
    """
    table = _table(rows)
    names = list(dict.fromkeys(arm for arms in table.values() for arm in arms))
    if primary is not None and primary not in names:
        raise InputError(f"the primary comparison '{primary}' is no arm of this comparison: {', '.join(names)}")
    first = [*sorted(filter(by_influence, names), key=place), *filter(by_score, names)]
    primary = primary or next(iter(first), None)
    summary: list[Summary] = []
    for protocol, arms in table.items():
        for arm, by_seed in arms.items():
            values = list(by_seed.values())
            sd = stdev(values) if len(values) > 1 else None
            others: list[str | None] = [*references(arm, arms, declared)]
            for against in others or [None]:
                pairs = [] if against is None else [by_seed[s] - arms[against][s] for s in by_seed if s in arms[against]]
                summary.append(
                    {
                        "arm": arm,
                        "protocol": protocol,
                        "mean": fmean(values),
                        "sd": sd,
                        "n": len(values),
                        "against": against,
                        **compare(pairs),
                        "primary": False,
                    }
                )
    for row in summary:
        if row["arm"] == primary and row["against"] is not None and kind(row["arm"], row["against"]) in (UNIFORM, RANDOM):
            row["primary"] = True
            break
    secondary = [(row, row["p"]) for row in summary if not row["primary"] and row["p"] is not None]
    for (row, _), corrected in zip(secondary, holm([p for _, p in secondary]), strict=True):
        row["p_holm"] = corrected
    return summary


def compare(differences: Sequence[float]) -> Paired:
    """Mean, t-interval, half-width and p of paired differences; None for what too few or only equal ones cannot give."""
    from scipy import stats

    n = len(differences)
    mean = fmean(differences) if n else None
    result: Paired = {
        "difference": mean,
        "low": None,
        "high": None,
        "smallest_shown": None,
        "p": None,
        "p_holm": None,
        "pairs": n,
    }
    if mean is None or max(differences) - min(differences) <= EQUAL:
        return result
    error = stdev(differences) / math.sqrt(n)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, n - 1))
    return {**result, "low": mean - half, "high": mean + half, "smallest_shown": half, "p": p, "p_holm": p}


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m is multiplied by m - k + 1, made monotone, at most 1."""
    m, corrected, largest = len(p_values), [0.0] * len(p_values), 0.0
    for k, i in enumerate(sorted(range(m), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (m - k) * p_values[i]))
        corrected[i] = largest
    return corrected


def _table(rows: Sequence[Row]) -> dict[str | None, dict[str, dict[int, float]]]:
    """Accuracy by protocol, arm and seed."""
    table: dict[str | None, dict[str, dict[int, float]]] = {}
    for row in rows:
        accuracy = row.get("accuracy")
        if accuracy is None or not math.isfinite(accuracy):
            continue
        arm, seed, protocol = row["arm"], row["seed"], row.get("protocol")
        by_seed = table.setdefault(protocol, {}).setdefault(arm, {})
        if seed in by_seed:
            raise InputError(f"arm '{arm}' has seed {seed} twice under protocol {protocol}: a seed is one pair")
        by_seed[seed] = float(accuracy)
    return table
