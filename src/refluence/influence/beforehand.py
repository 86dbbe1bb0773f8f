"""Kinds of an arm that act before the run: what they go by, and what each of their options means there.

    pruned, selected    the best share `keep` of each class stays
    relabelled          the worst `share` of each class gets another label
    scores              every instance is weighed by a table of scores

What is done to rows is in data/clean.py, by whom in condense/ranking.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refluence.errors import InputError, did_you_mean

CLEANING = ("pruned", "selected", "relabelled", "scores")
"""The kinds that act before the run: what they need is in a ranking, or in a table of scores, of all instances."""
OF_TABLE = ("score", "held-out-loss")
"""What a table of scores ranks instances by."""
PRUNED: dict[tuple[str, str], float | str] = {
    ("pruned", "influence"): 0.9,
    ("pruned", "loss"): 0.2,
    ("pruned", "random"): 0.9,
    ("selected", "influence"): 0.1,
    ("selected", "loss"): 0.1,
    ("selected", "random"): 0.1,
    ("pruned", "score"): "auto",
    ("pruned", "held-out-loss"): "auto",
    ("pruned", "truth"): "auto",
    ("selected", "score"): 0.1,
    ("selected", "held-out-loss"): 0.1,
}
"""The share that is kept by (kind, by) unless `keep` is given: IWD's, arXiv 2411.12115's, the others ours."""
RANKINGS = ("influence", "loss", "random", "score", "held-out-loss", "truth")
READ = {
    "pruned": ("keep", "by", "sign", "terms"),
    "selected": ("keep", "by", "sign", "terms"),
    "relabelled": ("share", "by", "terms"),
    "scores": ("by", "terms"),
}
"""The options of each kind that acts before the run."""
BY = {
    "pruned": RANKINGS,
    "selected": RANKINGS[:-1],
    "relabelled": ("score", "held-out-loss", "random", "truth"),
    "scores": ("score", "held-out-loss", "random"),
}
"""What each of them may go by, its default first but for `pruned` and `selected` (influence)."""


def beforehand(kind: str, options: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Weighting` of such a kind, from `options` as text and as `values`; what it does not read is refused."""
    if idle := [name for name in options if name not in READ[kind]]:
        weighs = ", which weighs what it keeps uniformly" if kind in ("pruned", "selected") else ""
        raise InputError(f"{idle[0]} means nothing with {kind}{weighs}: {', '.join(READ[kind])} do")
    by = values.get("by", "influence" if kind in ("pruned", "selected") else "score")
    if by not in BY[kind]:
        raise InputError(f"by={by} means nothing with {kind}: {did_you_mean(by, BY[kind])}")
    if "terms" in options and by != "score" and not (kind == "scores" and by == "random"):
        raise InputError(f"terms={options['terms']} means nothing with by={by}: they are parts of by=score")
    if by == "truth" and (idle := [name for name in ("keep", "share", "sign") if name in options]):
        raise InputError(f"{idle[0]}={options[idle[0]]} means nothing with by=truth, which acts on exactly the wrong ones")
    given: dict[str, Any] = {"by": by, "terms": "auto"}
    if kind in ("pruned", "selected"):
        given["keep"] = PRUNED[kind, by]
        if by not in OF_TABLE:
            given["terms"] = "explicit"  # as earlier versions kept it
    if kind == "relabelled":
        given["share"] = "auto"
    return {**given, **values}
