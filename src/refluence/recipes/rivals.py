"""Which tendency pays at which number of images per class? Influence beside its rivals among weights (ours).

All have the same effective sample size, half of the class in the batch: they differ in whom they stress, not in how much.
`influence` stresses what is not matched yet, `flipped` what is; `loss` the instances of high loss; `difficulty` the easier ones
(small gradients; arXiv 2408.12483 finds them better at few images per class), with `sign=-1` the harder; `shuffled` anyone.
`dc:sdc=1` is that source's own correction: no weights, but the norm of S's gradient beside the distance. Its weight here is
ours: with it, that term's image gradient is 3 to 30 % of the distance's at the start (digits, CIFAR-10, 1 and 10 images per
class, size `cpu`; one seed, by trial code).
"""

from __future__ import annotations

from refluence.recipes import table1
from refluence.recipes.base import REAL, Recipe

HALF = "tau=auto,ess=.5"
ARMS = (
    *REAL,
    "dc",
    f"dc+influence:{HALF}",
    f"dc+flipped:{HALF}",
    f"dc+loss:{HALF}",
    f"dc+difficulty:{HALF}",
    f"dc+difficulty:{HALF},sign=-1",
    f"dc+shuffled:{HALF}",
    "dc:sdc=1",
)
RIVALS = (f"dc+loss:{HALF}", f"dc+difficulty:{HALF}", f"dc+difficulty:{HALF},sign=-1")
PAIRS = (
    *((f"dc+influence:{HALF}", rival) for rival in RIVALS),
    (f"dc+difficulty:{HALF},sign=-1", f"dc+shuffled:{HALF}"),
    ("dc:sdc=1", "dc"),
)


RECIPE = Recipe(
    name="rivals",
    summary="influence beside loss and difficulty weights of the same effective sample size, and SDC",
    source="ours; difficulty after arXiv 2408.12483",
    parts=table1.dc_parts(ARMS, PAIRS),
    published=table1.published(*REAL, "dc"),
    protocols=table1.PROTOCOLS,
    claims=("arXiv 2408.12483: at few images per class the easier instances serve better.",),
    picture="gains",
)
