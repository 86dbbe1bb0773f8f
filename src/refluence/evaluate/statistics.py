"""Is the difference real? Paired comparisons of arms over seeds, with an interval and with what n could have shown.

The unit is the seed: one distilled set, its accuracy averaged over its networks. For an arm A and its reference R, with
d_s = accuracy(A, s) - accuracy(R, s) over the n seeds that both have, mean d and standard deviation sd_d (n - 1):

    interval        d +- t_{.975, n-1} sd_d / sqrt(n)
    smallest shown  t_{.975, n-1} sd_d / sqrt(n), the half-width: the smallest difference whose interval excludes 0
    p               paired t-test, two-sided; p_holm by Holm (1979) over every comparison but the primary one

References: an arm with weights (`dc+influence:tau=1,image_lr=.5`) is compared with its method at the same settings without
weights (`dc:image_lr=.5`, no other); with its control, the shuffled weights (`dc+shuffled:tau=1,image_lr=.5`; for `dc+pruned`
and `dc+selected` as many left out at by=random); and with `dc:equal_seconds=influence,tau=1,image_lr=.5` where there is such
an arm: no weights, but as many seconds. A method without weights is compared with `random`. Further pairs can be declared.
`full` is an upper bound, not a competitor. `where=outside` changes the distance too: there the uniform weights are those of
the same arm at tau=inf; without such an arm the verdict says that the distance is another one.
Ours: the smallest difference is the one that this sample could show, not a power calculation. If all d_s are equal there is
no interval and no p: accuracies on n images are multiples of 100/n, so a few equal differences are no evidence of no spread.

The verdict claims no more than these numbers do. *Helped* needs an interval above 0 against uniform weights AND against the
control: weights that are as uneven but belong to the wrong instances. *Hurt* needs one below 0 against uniform. Of
methods without weights it names the one with the highest mean; as that is a choice after the fact, *better* needs a
Holm-corrected p of at most .05.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import fields
from statistics import fmean, stdev

from scipy import stats

from refluence.errors import InputError
from refluence.influence.weighting import PRUNED, Weighting

UNIFORM, SHUFFLED, EQUAL_SECONDS, CONTROL, RANDOM = "uniform", "shuffled", "equal_seconds", "control", "random"
PRUNING = {kind for kind, _ in PRUNED}
OF_WEIGHTS = {field.name for field in fields(Weighting)} - {"kind"}
EQUAL = 1e-9  # percent points: differences closer than this differ by rounding alone
LEVEL = 0.05


def parse_arm(arm: str) -> tuple[str, str, frozenset[str]]:
    """`dc+influence:tau=.1,sign=-1` to method, kind of weights (`uniform` without suffix) and options."""
    head, _, options = arm.partition(":")
    method, _, weights = head.partition("+")
    return method, weights or UNIFORM, frozenset(filter(None, options.split(",")))


def base(arm: str) -> str:
    """The same method at the same settings without weights: `dc+influence:tau=.1,image_lr=1` to `dc:image_lr=1`."""
    head, _, options = arm.partition(":")
    settings = [option for option in options.split(",") if option and option.partition("=")[0] not in OF_WEIGHTS]
    return head.partition("+")[0] + (":" + ",".join(settings) if settings else "")


def references(arm: str, arms: Collection[str], declared: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Those of `arms` that `arm` is compared with: uniform, its control, equal seconds, and what `declared` pairs it with."""
    method, weights, options = parse_arm(arm)
    if weights == UNIFORM:
        found = [other for other in arms if other == "random" and arm != "random" and method != "full"]
    else:
        others = [(other, *parse_arm(other)) for other in arms]
        same_distance = [o for o, *_ in others if _is_uniform_outside(o, arm)]
        same_distance.sort(key=lambda other: len(parse_arm(other)[2] ^ options))  # at tau=inf no other option has an effect
        plain = [o for o, m, w, opts in others if (m, w, opts) == parse_arm(base(arm))]
        found = (same_distance + plain)[:1]
        found += [o for o in arms if _is_control(o, arm)]
        equal = options | {f"{EQUAL_SECONDS}={weights}"}
        found += [o for o, m, w, opts in others if (m, w, opts) == (method, UNIFORM, equal)]
    return found + [against for one, against in declared if one == arm and against in arms and against not in found]


def _is_control(other: str, arm: str) -> bool:
    """Whether the weights of `other` are as uneven as those of `arm`, but belong to the wrong instances."""
    (m, w, opts), (method, weights, options) = parse_arm(other), parse_arm(arm)
    if m != method:
        return False
    if weights in PRUNING:
        (by, *alike), (ranking, *wanted) = _pruning(w, opts), _pruning(weights, options)
        return w == weights and by == "random" != ranking and alike == wanted
    return weights != SHUFFLED == w and opts == options


def _pruning(weights: str, options: frozenset[str]) -> tuple[str, float, dict[str, str]]:
    """What a pruned arm ranks by, the share that it keeps, and its other options but for the sign."""
    given = dict(option.partition("=")[::2] for option in options)
    by = given.pop("by", "influence")
    keep = float(given.pop("keep", PRUNED.get((weights, by), 1)))
    given.pop("sign", None)
    return by, keep, given


def _is_uniform_outside(other: str, arm: str) -> bool:
    """Whether `other` has the distance and settings of `arm`, which has where=outside, at uniform weights (tau=inf)."""
    if not (_outside(other) and _outside(arm)) or _tau_is_infinite(arm) or not _tau_is_infinite(other):
        return False
    return parse_arm(base(other)) == parse_arm(base(arm))


def _outside(arm: str) -> bool:
    _, weights, options = parse_arm(arm)
    return weights != UNIFORM and "where=outside" in options


def _tau_is_infinite(arm: str) -> bool:
    values = [option.partition("=")[2].lower() for option in parse_arm(arm)[2] if option.startswith("tau=")]
    return any(value.lstrip("+") in ("inf", "infinity") for value in values)


def summarise(rows: list[dict], primary: str | None = None, declared: Sequence[tuple[str, str]] = ()) -> list[dict]:
    """One row per protocol, arm and reference (one without reference if it has none), in the order of `rows`.

    `rows` need `arm`, `seed`, `accuracy` (percent) and may name a `protocol`; those without a finite accuracy are left
    out. `primary` is the arm whose comparison with its uniform base (or random), in the first protocol, is declared beforehand
    and is not corrected (its p_holm is its p); by default the first arm with influence weights. `declared`: further pairs (arm,
    reference). Keys of a result: arm,
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
            for against in references(arm, arms, declared) or [None]:
                pairs = [by_seed[s] - arms[against][s] for s in by_seed if s in arms[against]] if against else []
                summary.append({**own, "against": against, **compare(pairs), "primary": False})
    for row in summary:
        if row["arm"] == primary and row["against"] is not None and _kind(row) in (UNIFORM, RANDOM):
            row["primary"] = True
            break
    secondary = [row for row in summary if not row["primary"] and row["p"] is not None]
    for row, corrected in zip(secondary, holm([row["p"] for row in secondary]), strict=True):
        row["p_holm"] = corrected
    return summary


def compare(differences: list[float]) -> dict:
    """Mean, t-interval, half-width and p of paired differences; None for what too few or only equal ones cannot give."""
    n = len(differences)
    result: dict = dict.fromkeys(("difference", "low", "high", "smallest_shown", "p", "p_holm")) | {"pairs": n}
    if not n:
        return result
    mean = fmean(differences)
    result["difference"] = mean
    if max(differences) - min(differences) <= EQUAL:
        return result
    error = stdev(differences) / math.sqrt(n)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, n - 1))
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
    """One line on the primary arm (else the first arm with influence or other weights), else on the highest mean.

    `summary` comes from `summarise(rows)`.
    """
    if not summary:
        return "nothing to compare: no arm has a finished seed" if not rows else "nothing to compare: no accuracy is finite"
    weighted = [row for row in summary if not _by_chance(row["arm"])]
    influence = [row for row in weighted if parse_arm(row["arm"])[1] == "influence"]
    declared = [row for row in summary if row["primary"] and parse_arm(row["arm"])[1] != UNIFORM]
    chosen = next(iter([*declared, *influence, *weighted]), None)
    return _on_weights(chosen, summary) if chosen else _on_methods(summary)


def _by_chance(arm: str) -> bool:
    """Whether the weights of an arm know nothing of the instances."""
    _, weights, options = parse_arm(arm)
    return weights in (UNIFORM, SHUFFLED) or (weights in PRUNING and _pruning(weights, options)[0] == "random")


def _on_weights(chosen: dict, summary: list[dict]) -> str:
    """What weighting did to the arm of `chosen`."""
    arm = chosen["arm"]
    own = [r for r in summary if (r["arm"], r["protocol"]) == (arm, chosen["protocol"]) and r["against"]]
    by_kind = {kind: row for row in own if (kind := _kind(row))}
    uniform, control = by_kind.get(UNIFORM), by_kind.get(CONTROL)
    wrong = "random" if parse_arm(arm)[1] in PRUNING else "shuffled"
    equal = _over("uniform at equal seconds", by_kind.get(EQUAL_SECONDS))
    parts = [part for part in (_over("uniform", uniform, "points "), _over(wrong, control), equal) if part]
    options = arm.partition(":")[2]
    line = f"{parse_arm(arm)[1]} weights{f' ({options})' if options else ''}: "
    if by_kind:
        line += ", ".join([*parts, f"n = {min(row['pairs'] for row in by_kind.values())}"]) + ": "
    if uniform is None:
        return f"{line}not compared with uniform weights: {base(arm)} is not among the arms"
    if uniform["low"] is None:
        return line + _no_interval(uniform)
    if uniform["high"] < 0:
        return f"{line}hurt"
    if uniform["low"] <= 0:
        return f"{line}no difference shown; n = {uniform['pairs']} could show {uniform['smallest_shown']:.1f}"
    if control is None:
        return f"{line}better than uniform, but not compared with {wrong} weights"
    if control["low"] is None:
        return f"{line}better than uniform, but against {wrong} {_no_interval(control)}"
    if control["low"] <= 0:
        return f"{line}better than uniform, but not shown to be better than {wrong}"
    return f"{line}helped"


def _kind(row: dict) -> str:
    """What the reference of a row is to its arm: `uniform`, `control`, `random`, or `equal_seconds`, uniform too; else ""."""
    arm, against = row["arm"], row["against"]
    if _is_control(against, arm):
        return CONTROL
    if any(option.startswith(f"{EQUAL_SECONDS}=") for option in parse_arm(against)[2]):
        return EQUAL_SECONDS
    if _is_uniform_outside(against, arm) or (against != arm and parse_arm(against) == parse_arm(base(arm))):
        return UNIFORM
    return RANDOM if against == RANDOM else ""


def _no_interval(row: dict) -> str:
    """Why a comparison has no interval."""
    if row["pairs"] < 2:
        return "no interval" if row["pairs"] else "no interval (no seed in common)"
    return "no interval (all differences are equal)"


def _on_methods(summary: list[dict]) -> str:
    """The method with the highest mean in the first protocol."""
    rows = [row for row in summary if row["protocol"] == summary[0]["protocol"] and parse_arm(row["arm"])[0] != "full"]
    if not rows:
        return "nothing to compare: full is the ceiling, not a competitor"
    against = [row for row in rows if row["against"] == "random"]
    arms = {row["arm"] for row in against or rows}
    best = max(against or rows, key=lambda row: row["mean"])
    beside = " beside random" if against else ""
    line = f"highest mean of {len(arms)} arms{beside}: " if len(arms) > 1 else ""
    line += f"{best['arm']}, {best['mean']:.1f} %"
    if not against:
        return f"{line}, n = {best['n']}: not compared with random"
    line += "".join(f", {part}" for part in (_over("random", best, "points "), f"n = {best['pairs']}") if part)
    if best["low"] is None:
        return f"{line}: {_no_interval(best)}"
    if best["low"] <= 0 <= best["high"]:
        return f"{line}: no difference shown; n = {best['pairs']} could show {best['smallest_shown']:.1f}"
    holm_p = "Holm p < 0.001" if best["p_holm"] < 0.001 else f"Holm p = {best['p_holm']:.2g}"
    if best["p_holm"] > LEVEL:
        return f"{line}: no difference shown after correction for all comparisons ({holm_p})"
    return f"{line}: {'better' if best['difference'] > 0 else 'worse'} than random ({holm_p})"


def _over(name: str, row: dict | None, unit: str = "") -> str:
    """`+0.4 points over uniform [-1.0, 1.8]`, without the interval if there is none."""
    if row is None or row["difference"] is None:
        return ""
    points = f"{round(row['difference'], 1) + 0.0:+.1f}"  # no -0.0
    interval = "" if row["low"] is None else f" [{row['low']:.1f}, {row['high']:.1f}]"
    if _outside(row["arm"]) and not _outside(row["against"]):
        name += " (another distance)"
    return f"{points} {unit}over {name}{interval}" if unit else f"over {name} {points}{interval}"
