"""Fig. 3 of IWD (arXiv 2510.27253, sec. 5.2): what to do with influence: select, prune, or weight?

`random` is Random-Select, `influence` Influence-Select, `dc+pruned` Influence-Prune-then-Distill (the 90 % of highest influence
are kept), `dc+influence` IWD. Ours: herding, `dc`, a tenth left out at random, and the controls of the weights.
"""

from __future__ import annotations

from refluence.recipes import table1
from refluence.recipes.base import CONTROLS, REAL, Recipe

ARMS = (*REAL, "influence", "dc", "dc+pruned", "dc+pruned:by=random", "dc+influence", *CONTROLS)
PAIRS = (("dc+pruned", "influence"), ("dc+influence", "dc+pruned"))  # the paper's order, step by step


RECIPE = Recipe(
    name="fig3",
    summary="random selection, influence selection, prune then distil, influence weights",
    source="IWD (arXiv 2510.27253), Fig. 3",
    parts=table1.dc_parts(ARMS, PAIRS),
    published=table1.published(*REAL, "dc", "dc+influence"),
    protocols=table1.PROTOCOLS,
    shown=("influence", "dc+pruned"),
    claims=("The order is the same everywhere: random selection, influence selection, pruning, and best influence weights.",),
    notes=("The numbers of random, herding, dc and dc+influence are those of the paper's Table 1; Fig. 3 has none in print.",),
    picture="arms",
)
