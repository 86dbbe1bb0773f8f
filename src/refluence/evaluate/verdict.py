"""The verdict: one line on a comparison that claims no more than its numbers (paired.py) do.

*Helped* needs an interval above 0 against uniform weights AND against the control: the influence weights of each step on the
wrong instances. *Hurt* needs one below 0 against uniform. Where scores clean or weigh the images beforehand, it
*pays* above the images as they are and above the same at random, and *helped* needs the same by loss too; the line says what
loss does. Of students (students.py) *helped* needs an interval above 0 against `kd` and against shuffled weights, and the line
says what cheaper weights and more labels do; a teacher that teaches nothing comes first (teaching.py). Of sets whose sampling
is steered (generated.py) *helped* needs an interval above 0 against the same without guidance and against a pool that was
selected from in as many seconds. Of methods without
weights it names the one with the highest mean; as that is a choice after the fact, *better* needs a Holm-corrected p of at most
.05.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from refluence.arm import UNIFORM, read_arm
from refluence.evaluate import generated, students
from refluence.evaluate.cleaning import HELD_OUT, cleaning
from refluence.evaluate.paired import Row, Summary
from refluence.evaluate.references import another_distance, base, by_chance, by_influence, by_score, is_ceiling, kind
from refluence.evaluate.relations import CONTROL, EQUAL_SECONDS, RANDOM, RIVAL
from refluence.evaluate.teaching import idle_teacher

LEVEL = 0.05


@dataclass(frozen=True)
class _Names:
    """How the line calls an arm, the one without weights and the control; `noun` stands behind both where they are missing.

    `alike`: the one without weights where it is given as many seconds.
    """

    arm: str
    uniform: str
    control: str
    noun: str
    alike: str = UNIFORM


def verdict(summary: Sequence[Summary], rows: Sequence[Row]) -> str:
    """One line on the primary arm (else the first arm with influence, scores or other weights), else on the highest mean.

    `summary` comes from `summarise(rows)`.
    """
    if not summary:
        return "nothing to compare: no arm has a finished seed" if not rows else "nothing to compare: no accuracy is finite"
    weighted = [row for row in summary if not by_chance(row["arm"]) and not is_ceiling(row["arm"])]
    influence = [row for row in weighted if by_influence(row["arm"])]
    scored = [row for row in weighted if by_score(row["arm"])]
    declared = [row for row in summary if row["primary"] and not _is_plain(row["arm"])]
    declared = [row for row in declared if not is_ceiling(row["arm"])]
    chosen = next(iter([*declared, *influence, *scored, *weighted]), None)
    if chosen:
        return idle_teacher(chosen["arm"], None, summary, rows) + _on_weights(chosen, summary)
    best, against = _highest(summary)
    return idle_teacher(None, best and best["arm"], summary, rows) + _on_methods(best, against, summary)


def _is_plain(arm: str) -> bool:
    """Whether an arm has no weights at all."""
    return read_arm(arm).kind == UNIFORM and not by_influence(arm)


def _on_weights(chosen: Summary, summary: Sequence[Summary]) -> str:
    """What weighting or cleaning did to the arm of `chosen`."""
    arm, names = chosen["arm"], _names(chosen["arm"])
    scored = {row["arm"] for row in summary if by_score(row["arm"])} if by_score(arm) else set()
    among = f" (one of {len(scored)} arms by score)" if len(scored) > 1 else ""
    by_kind = _by_kind(arm, chosen["protocol"], summary)
    uniform, control, rivals = by_kind.get(UNIFORM), by_kind.get(CONTROL), _rivals(chosen, summary)
    if rivals and generated.is_generated(read_arm(arm)):  # the strongest of the pools
        control = min(rivals, key=lambda row: -math.inf if row["low"] is None else row["low"])
        names, rivals = replace(names, control=control["against"] or ""), []
    equal = by_kind.get(EQUAL_SECONDS)
    named = [(names.control, control), (f"{names.alike} at equal seconds", equal), *((_rival_name(r), r) for r in rivals)]
    if rivals and students.is_student(read_arm(arm)):  # a long line: only what decides
        reached = len(named) if _above(control) else 1
        named = named[:reached] if _above(uniform) else []
        named = [(name, row) for name, row in named if row is control or row is equal or not _above(row)]
    parts = [part for part in (_over(names.uniform, uniform, "points "), *(_over(*each) for each in named)) if part]
    line = f"{names.arm}{among}: "
    if by_kind:
        line += ", ".join([*parts, f"n = {min(row['pairs'] for row in by_kind.values())}"]) + ": "
    if uniform is None:
        return f"{line}not compared with {names.uniform}{names.noun}: {base(arm)} is not among the arms"
    if uniform["low"] is None or uniform["high"] is None:
        return line + _no_interval(uniform)
    if uniform["high"] < 0:
        return f"{line}hurt"
    if uniform["low"] <= 0:
        return f"{line}no difference shown; n = {uniform['pairs']} could show {uniform['smallest_shown']:.1f}"
    if control is None:
        return f"{line}better than {names.uniform}, but not compared with {names.control}{names.noun}"
    if control["low"] is None:
        return f"{line}better than {names.uniform}, but against {names.control} {_no_interval(control)}"
    if control["low"] <= 0:
        return f"{line}better than {names.uniform}, but not shown to be better than {names.control}"
    return line + _gain(chosen, rivals, summary)


def _above(row: Summary | None) -> bool:
    """Whether an interval is above 0."""
    return row is not None and row["low"] is not None and row["low"] > 0


def _names(arm: str) -> _Names:
    if students.is_student(read_arm(arm)):
        return _Names(arm, base(arm), "shuffled weights", "", alike=base(arm))
    if generated.is_generated(this := read_arm(arm)):
        control = f"{this.method}+{generated.POOL}" if this.option(generated.WEIGHTS) is None else "shuffled weights"
        return _Names(arm, base(arm), control, "")
    own = cleaning(read_arm(arm))
    if own is not None and own.of_table:
        return _Names(arm, f"{base(arm)} as it is", "the same at random", "")
    options = arm.partition(":")[2]
    name = f"{read_arm(arm).kind} weights{f' ({options})' if options else ''}"
    return _Names(name, "uniform", "shuffled" if own is None else "random", " weights")


def _by_kind(arm: str, protocol: str | None, summary: Sequence[Summary]) -> dict[str, Summary]:
    """The comparisons of an arm under a protocol, by what their reference is to it."""
    own = [row for row in summary if (row["arm"], row["protocol"]) == (arm, protocol)]
    return {name: row for row in own if row["against"] and (name := kind(arm, row["against"]))}


def _rivals(chosen: Summary, summary: Sequence[Summary]) -> list[Summary]:
    """The comparisons of an arm with the same done by another."""
    own = [row for row in summary if (row["arm"], row["protocol"]) == (chosen["arm"], chosen["protocol"])]
    return [row for row in own if row["against"] and kind(row["arm"], row["against"]) == RIVAL]


def _rival_name(rival: Summary) -> str:
    against = rival["against"] or ""
    return against if students.is_student(read_arm(against)) else _by_loss(rival)


def _by_loss(rival: Summary) -> str:
    own = cleaning(read_arm(rival["against"] or ""))
    return "the same by held-out loss" if own is not None and own.by == HELD_OUT else "the same by loss"


def _gain(chosen: Summary, rivals: Sequence[Summary], summary: Sequence[Summary]) -> str:
    """What an arm that is above its method and its control has shown, and what loss does: weights *helped*, cleaning *pays*.

    Cleaning or weighing by score *helped* only where it is above the same by loss too.
    """
    if students.is_student(read_arm(chosen["arm"])):
        level = [_rival_name(row) for row in rivals if not _above(row)]
        return "helped" + (f"; not shown to be better than {', '.join(level)}" if level else "")
    own, rival = cleaning(read_arm(chosen["arm"])), next(iter(rivals), None)
    if own is None or not own.of_table:
        return "helped"
    if not by_score(chosen["arm"]):
        return "pays"
    if rival is None:
        return "pays, but not compared with the same by loss"
    name = _by_loss(rival).removeprefix("the same ")
    if rival["low"] is None or rival["high"] is None:
        return f"pays; against the same {name} {_no_interval(rival)}"
    if rival["low"] > 0:
        return f"helped, more than {name}"
    if rival["high"] < 0:
        return f"pays, but less than {name}"
    of_loss = _by_kind(rival["against"] or "", chosen["protocol"], summary)
    as_well = all((row := of_loss.get(name)) and (row["low"] or 0) > 0 for name in (UNIFORM, CONTROL))
    return f"pays; {name} as well" if as_well else f"pays, but not shown to be more than {name}"


def _no_interval(row: Summary) -> str:
    """Why a comparison has no interval."""
    if row["pairs"] < 2:
        return "no interval" if row["pairs"] else "no interval (no seed in common)"
    return "no interval (all differences are equal)"


def _highest(summary: Sequence[Summary]) -> tuple[Summary | None, list[Summary]]:
    """The row of the method with the highest mean in the first protocol, and those of all that are compared with the usual."""
    rows = [row for row in summary if row["protocol"] == summary[0]["protocol"] and not is_ceiling(row["arm"])]
    against = [row for row in rows if row["against"] and RANDOM in (row["against"], kind(row["arm"], row["against"]))]
    return max(against or rows, key=lambda row: row["mean"], default=None), against or rows


def _on_methods(best: Summary | None, rows: Sequence[Summary], summary: Sequence[Summary]) -> str:
    """What the method with the highest mean has shown."""
    if best is None:
        return f"nothing to compare: {summary[0]['arm']} is the ceiling, not a competitor"
    against = best["against"] is not None and RANDOM in (best["against"], kind(best["arm"], best["against"]))
    arms = {row["arm"] for row in rows}
    usual = students.SCRATCH if students.is_student(read_arm(best["arm"])) else RANDOM
    reference = (best["against"] or usual) if against else usual
    beside = f" beside {reference}" if against and len({row["against"] for row in rows}) == 1 else ""
    line = f"highest mean of {len(arms)} arms{beside}: " if len(arms) > 1 else ""
    line += f"{best['arm']}, {best['mean']:.1f} %"
    if not against:
        ending = "there is nothing to compare it with" if arms == {reference} else f"not compared with {reference}"
        return f"{line}, n = {best['n']}: {ending}"
    line += "".join(f", {part}" for part in (_over(reference, best, "points "), f"n = {best['pairs']}") if part)
    if best["low"] is None or best["high"] is None or best["difference"] is None or best["p_holm"] is None:
        return f"{line}: {_no_interval(best)}"
    if best["low"] <= 0 <= best["high"]:
        return f"{line}: no difference shown; n = {best['pairs']} could show {best['smallest_shown']:.1f}"
    holm_p = "Holm p < 0.001" if best["p_holm"] < 0.001 else f"Holm p = {best['p_holm']:.2g}"
    if best["p_holm"] > LEVEL:
        return f"{line}: no difference shown after correction for all comparisons ({holm_p})"
    return f"{line}: {'better' if best['difference'] > 0 else 'worse'} than {reference} ({holm_p})"


def tenths(value: float | None) -> float | None:
    """Rounded to one decimal, and never -0.0."""
    return None if value is None else round(value, 1) + 0.0


def _over(name: str, row: Summary | None, unit: str = "") -> str:
    """`+0.4 points over uniform [-1.0, 1.8]`, without the interval if there is none."""
    if row is None or row["difference"] is None:
        return ""
    low, high = tenths(row["low"]), tenths(row["high"])
    points, interval = f"{tenths(row['difference']):+.1f}", "" if low is None else f" [{low:.1f}, {high:.1f}]"
    if row["against"] is not None and another_distance(row["arm"], row["against"]):
        name += " (another distance)"
    return f"{points} {unit}over {name}{interval}" if unit else f"over {name} {points}{interval}"
