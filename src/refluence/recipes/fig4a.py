"""Fig. 4a of IWD (arXiv 2510.27253, sec. 5.2): the temperature of the weights, by images per class.

`dc` is the limit of a large temperature, uniform weights; the controls have tau=1 (all ours). Ours: scores are standardised
in their class of the batch before the softmax, so a temperature here is in standard deviations. The paper's Algorithm 1 has
the raw I/tau: the parts `-raw`.
"""

from __future__ import annotations

from dataclasses import replace

from refluence.recipes import table1
from refluence.recipes.base import CONTROLS, REAL, Part, Recipe

TAUS = (".01", ".1", "1", "10", "100")
WEIGHTED = tuple(f"dc+influence:tau={tau}" for tau in TAUS)
ARMS = (*REAL, "dc", *WEIGHTED, *(f"{control}:tau=1" for control in CONTROLS))
RAW = ",standardise=none"


def parts(size: str) -> tuple[Part, ...]:
    """The temperatures in standard deviations, at each number of images per class, then as they are."""
    standardised = table1.dc_parts(ARMS, primary=WEIGHTED[2])(size)
    arms = tuple(arm + RAW if "tau" in arm else arm for arm in ARMS)
    raw = (replace(part, name=f"{part.name}-raw", arms=arms, primary=WEIGHTED[2] + RAW) for part in standardised)
    return (*standardised, *raw)


RECIPE = Recipe(
    name="fig4a",
    summary="temperature of the influence weights by images per class",
    source="IWD (arXiv 2510.27253), Fig. 4a",
    parts=parts,
    published=table1.published(*REAL, "dc"),
    protocols=table1.PROTOCOLS,
    shown=(*WEIGHTED, *(arm + RAW for arm in WEIGHTED)),
    claims=(
        "For a fixed number of images per class accuracy rises with the temperature, peaks, and falls.",
        "The best temperature is larger for more images per class.",
    ),
    picture="tau",
)
