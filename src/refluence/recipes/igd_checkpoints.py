"""Table 6 of IGD (ICLR 2025): checkpoints retained by gradient similarity against as many at regular epochs.

The paper has thresholds of .6, .7 and .8, and at .7 finds 4 checkpoints of 50 epochs as good as 10 regular ones.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.sampled import part, scaled

THRESHOLDS = (".6", ".7", ".8")
REGULAR = ("10",)


def parts(size: str) -> tuple[Part, ...]:
    """One comparison: the thresholds, as many at regular epochs as each of them retains, 10, and no guidance."""
    data, ipc = ("digits", 5) if size == "cpu" else ("imagenette", 50)
    method = "dit+igd" if size == "cpu" else scaled("minimax+igd", data, ipc)
    more = "," if ":" in method else ":"
    retained = [f"{method}{more}threshold={value}" for value in THRESHOLDS]
    arms = [*retained, *(f"{arm},evenly=1" for arm in retained), *(f"{method}{more}regular={n}" for n in REGULAR)]
    return (part(f"{data}-ipc{ipc}", data, ipc, (method.partition("+")[0], *arms), size, primary=arms[1]),)


RECIPE = Recipe(
    name="igd-checkpoints",
    summary="checkpoints of the surrogate by gradient similarity, and as many at regular epochs",
    source="IGD (ICLR 2025), Table 6",
    parts=parts,
    claims=("Retained checkpoints guide better than as many regular ones; 4 of them better than 10 regular ones.",),
    notes=("Its numbers are not in the text that we have of the paper.",),
    picture="arms",
)
