"""Is the difference real? Paired comparisons of arms over seeds, with an interval and with what n could have shown.

The unit is the seed: one distilled set, its accuracy averaged over its networks. For an arm A and its reference R, with
d_s = accuracy(A, s) - accuracy(R, s) over the n seeds that both have, mean d and standard deviation sd_d (n - 1):

    interval        d +- t_{.975, n-1} sd_d / sqrt(n)
    smallest shown  t_{.975, n-1} sd_d / sqrt(n), the half-width: the smallest difference whose interval excludes 0
    p               paired t-test, two-sided; p_holm by Holm (1979) over every comparison but the primary one

References: an arm with weights (`dc+influence:tau=1`) is compared with its method without weights (`dc`) and with the
shuffled weights (`dc+shuffled:tau=1`), and with `dc:equal_seconds=influence,tau=1` where there is such an arm: no weights,
but as many seconds; a method without weights with `random`. `full` is an upper bound, not a competitor.
Ours: the smallest difference is the one that this sample could show, not a power calculation; if all d_s are equal, the
interval is that point.

The verdict claims no more than these intervals do. *Helped* needs an interval above 0 against uniform weights AND against
shuffled ones: weights that are as uneven but belong to the wrong instances. *Hurt* needs one below 0 against uniform.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean, stdev

from scipy import stats

from refluence.errors import InputError

UNIFORM, SHUFFLED, EQUAL_SECONDS = "uniform", "shuffled", "equal_seconds"


def parse_arm(arm: str) -> tuple[str, str, frozenset[str]]:
    """`dc+influence:tau=.1,sign=-1` to method, kind of weights (`uniform` without suffix) and options."""
    head, _, options = arm.partition(":")
    method, _, weights = head.partition("+")
    return method, weights or UNIFORM, frozenset(filter(None, options.split(",")))


def references(arm: str, arms: Iterable[str]) -> list[str]:
    """Those of `arms` that `arm` is compared with: uniform, shuffled, equal seconds; see the top of this file.

    The shuffled reference has the same options. The uniform one has no options beyond those of the arm (an option of the
    weights means nothing to it) and the most of them.
    """
    method, weights, options = parse_arm(arm)
    if weights == UNIFORM:
        return [other for other in arms if other == "random" and method not in ("random", "full")]
    others = [(other, *parse_arm(other)) for other in arms]
    uniform = [(o, opts) for o, m, w, opts in others if (m, w) == (method, UNIFORM) and opts <= options]
    found = [max(uniform, key=lambda pair: len(pair[1]))[0]] if uniform else []
    if weights != SHUFFLED:
        found += [o for o, m, w, opts in others if (m, w, opts) == (method, SHUFFLED, options)]
        equal = options | {f"{EQUAL_SECONDS}={weights}"}
        found += [o for o, m, w, opts in others if (m, w, opts) == (method, UNIFORM, equal)]
    return found


def summarise(rows: list[dict], primary: str | None = None) -> list[dict]:
    """One row per protocol, arm and reference (one without reference if it has none), in the order of `rows`.

    `rows` need `arm`, `seed`, `accuracy` (percent) and may name a `protocol`; those without a finite accuracy are left
    out. `primary` is the arm whose comparison with its first reference, in the first protocol, is declared beforehand and
    is not corrected (its p_holm is its p); by default the first arm with influence weights. Keys of a result: arm,
    protocol, mean, sd, n (of the arm); against, pairs, difference, low, high, smallest_shown, p, p_holm, primary. What
    cannot be computed is None: no NaN. Raises `InputError` if an arm has a seed twice, or if `primary` is no arm.
    """
    table = _table(rows)
    names = list(dict.fromkeys(arm for arms in table.values() for arm in arms))
    if primary is not None and primary not in names:
        raise InputError(f"the primary comparison '{primary}' is no arm of this comparison: {', '.join(names)}")
    primary = primary or next((arm for arm in names if parse_arm(arm)[1] == "influence"), None)
    summary = []
    for protocol, arms in table.items():
        for arm, by_seed in arms.items():
            values = list(by_seed.values())
            sd = stdev(values) if len(values) > 1 else None
            own = {"arm": arm, "protocol": protocol, "mean": fmean(values), "sd": sd, "n": len(values)}
            for against in references(arm, arms) or [None]:
                pairs = [by_seed[s] - arms[against][s] for s in by_seed if s in arms[against]] if against else []
                summary.append({**own, "against": against, **compare(pairs), "primary": False})
    for row in summary:
        if row["arm"] == primary and row["against"] is not None:
            row["primary"] = True
            break
    secondary = [row for row in summary if not row["primary"] and row["p"] is not None]
    for row, corrected in zip(secondary, holm([row["p"] for row in secondary]), strict=True):
        row["p_holm"] = corrected
    return summary


def compare(differences: list[float]) -> dict:
    """Mean, t-interval, half-width and p of paired differences; None for what so few pairs cannot give."""
    n = len(differences)
    result: dict = dict.fromkeys(("difference", "low", "high", "smallest_shown", "p", "p_holm")) | {"pairs": n}
    if not n:
        return result
    mean = fmean(differences)
    result["difference"] = mean
    if n == 1:
        return result
    error = stdev(differences) / math.sqrt(n)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0)
    return result | {"low": mean - half, "high": mean + half, "smallest_shown": half, "p": p, "p_holm": p}


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m is multiplied by m - k + 1, made monotone, at most 1."""
    m, corrected, largest = len(p_values), [0.0] * len(p_values), 0.0
    for k, i in enumerate(sorted(range(m), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (m - k) * p_values[i]))
        corrected[i] = largest
    return corrected


def _table(rows: list[dict]) -> dict[str | None, dict[str, dict[int, float]]]:
    """Accuracy by protocol, arm and seed."""
    table: dict = {}
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


def verdict(summary: list[dict], rows: list[dict]) -> str:
    """One line on the primary arm (else the first arm with weights), or without weights on the best method over random.

    `summary` comes from `summarise(rows)`.
    """
    if not summary:
        return "nothing to compare: no arm has a finished seed" if not rows else "nothing to compare: no accuracy is finite"
    primary = next((row for row in summary if row["primary"] and parse_arm(row["arm"])[1] != UNIFORM), None)
    weighted = [row for row in summary if parse_arm(row["arm"])[1] not in (UNIFORM, SHUFFLED)]
    chosen = primary or next((row for row in weighted if row["against"]), None)
    return _on_weights(chosen, summary) if chosen else _on_methods(summary)


def _on_weights(chosen: dict, summary: list[dict]) -> str:
    """What weighting did to the arm of `chosen`."""
    own = [r for r in summary if (r["arm"], r["protocol"]) == (chosen["arm"], chosen["protocol"]) and r["against"]]
    by_kind = {_kind(row["against"]): row for row in own}
    uniform, shuffled = by_kind.get(UNIFORM), by_kind.get(SHUFFLED)
    equal = _over("uniform at equal seconds", by_kind.get(EQUAL_SECONDS))
    parts = [text for text in (_over("uniform", uniform, "points "), _over("shuffled", shuffled), equal) if text]
    n = min(row["pairs"] for row in own)
    line = f"{parse_arm(chosen['arm'])[1]} weights: {', '.join(parts)}, n = {n}"
    if any(row["low"] is None for row in own):
        return f"{line}: no interval"
    if uniform is None:
        return f"{line}: not compared with uniform weights"
    if uniform["high"] < 0:
        return f"{line}: hurt"
    if uniform["low"] <= 0:
        return f"{line}: no difference shown; n = {uniform['pairs']} could show {uniform['smallest_shown']:.1f}"
    if shuffled is None:
        return f"{line}: better than uniform, but not compared with shuffled weights"
    if shuffled["low"] <= 0:
        return f"{line}: better than uniform, but not shown to be better than shuffled"
    return f"{line}: helped"


def _kind(reference: str) -> str:
    """`uniform`, `shuffled`, or `equal_seconds`, which has uniform weights too."""
    _, weights, options = parse_arm(reference)
    return EQUAL_SECONDS if any(option.startswith(f"{EQUAL_SECONDS}=") for option in options) else weights


def _on_methods(summary: list[dict]) -> str:
    """The best method, chosen by its mean in the first protocol."""
    rows = [row for row in summary if row["protocol"] == summary[0]["protocol"]]
    against = [row for row in rows if row["against"] == "random"]
    best = max(against or rows, key=lambda row: row["mean"])
    line = f"best method: {best['arm']}, {best['mean']:.1f} %"
    if not against:
        return f"{line}, n = {best['n']}: not compared with random"
    line += f", {_over('random', best, 'points ')}, n = {best['pairs']}"
    if best["low"] is None:
        return f"{line}: no interval"
    if best["low"] > 0:
        return f"{line}: better"
    if best["high"] < 0:
        return f"{line}: worse"
    return f"{line}: no difference shown; n = {best['pairs']} could show {best['smallest_shown']:.1f}"


def _over(name: str, row: dict | None, unit: str = "") -> str:
    """`+0.4 points over uniform [-1.0, 1.8]`, without the interval if there is none."""
    if row is None or row["difference"] is None:
        return ""
    points = f"{round(row['difference'], 1) + 0.0:+.1f}"  # no -0.0
    interval = "" if row["low"] is None else f" [{row['low']:.1f}, {row['high']:.1f}]"
    return f"{points} {unit}over {name}{interval}" if unit else f"over {name} {points}{interval}"
