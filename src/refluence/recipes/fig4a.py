"""Fig. 4a of IWD (arXiv 2510.27253, sec. 5.2): the temperature of the weights, by images per class.

`dc` is the limit of a large temperature, uniform weights; the controls are those of the default, tau=1 (all ours). Ours:
scores are standardised in their class of the batch before the softmax, so a temperature here is in standard deviations; the
paper's unit is not stated.
"""

from __future__ import annotations

from refluence.recipes import table1
from refluence.recipes.base import CONTROLS, REAL, Recipe

TAUS = (".01", ".1", "1", "10", "100")
WEIGHTED = tuple(f"dc+influence:tau={tau}" for tau in TAUS)
ARMS = (*REAL, "dc", *WEIGHTED, *(f"{control}:tau=1" for control in CONTROLS))


RECIPE = Recipe(
    name="fig4a",
    summary="temperature of the influence weights by images per class",
    source="IWD (arXiv 2510.27253), Fig. 4a",
    parts=table1.dc_parts(ARMS, primary="dc+influence:tau=1"),
    published={key: cell for key, cell in table1.published().items() if key[2] == "dc"},
    protocols=table1.PROTOCOLS,
    shown=WEIGHTED,
    claims=(
        "For a fixed number of images per class accuracy rises with the temperature, peaks, and falls.",
        "The best temperature is larger for more images per class.",
    ),
    picture="tau",
)
