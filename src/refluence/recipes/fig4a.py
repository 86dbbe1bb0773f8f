"""Fig. 4a of IWD (arXiv 2510.27253, sec. 5.2): the temperature of the weights, by images per class.

`dc` is the limit of a large temperature, uniform weights, `dc+shuffled:tau=1` the control of the default (both ours). Ours:
scores are standardised in their class of the batch before the softmax, so a temperature here is in standard deviations; the
paper's unit is not stated.
"""

from __future__ import annotations

from refluence.recipes import table1
from refluence.recipes.base import Recipe

TAUS = (".01", ".1", "1", "10", "100")
ARMS = ("dc", *(f"dc+influence:tau={tau}" for tau in TAUS), "dc+shuffled:tau=1")


RECIPE = Recipe(
    name="fig4a",
    summary="temperature of the influence weights by images per class",
    source="IWD (arXiv 2510.27253), Fig. 4a",
    parts=table1.dc_parts(ARMS, primary="dc+influence:tau=1"),
    published={key: cell for key, cell in table1.published().items() if key[2] == "dc"},
    protocols=table1.PROTOCOLS,
    shown=ARMS[1:-1],
    claims=(
        "For a fixed number of images per class accuracy rises with the temperature, peaks, and falls.",
        "The best temperature is larger for more images per class.",
    ),
    picture="tau",
)
