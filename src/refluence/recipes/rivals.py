"""Which tendency pays at which number of images per class? Influence beside its rivals among weights (ours).

All have the same effective sample size, half of the class in the batch: they differ in whom they stress, not in how much.
`influence` stresses what is not matched yet, `flipped` what is; `loss` the instances of high loss; `difficulty` the easier ones
(small gradients; arXiv 2408.12483 finds them better at few images per class), with `sign=-1` the harder; `shuffled` anyone.
"""

from __future__ import annotations

from refluence.recipes import table1
from refluence.recipes.base import Part, Recipe

HALF = "tau=auto,ess=.5"
ARMS = (
    "dc",
    f"dc+influence:{HALF}",
    f"dc+flipped:{HALF}",
    f"dc+loss:{HALF}",
    f"dc+difficulty:{HALF}",
    f"dc+difficulty:{HALF},sign=-1",
    f"dc+shuffled:{HALF}",
)


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10 at 1, 10 and 50 images per class."""
    protocols, seeds = (("iwd", "dc"), 5) if size == "paper" else (("iwd-cpu", "dc-cpu"), 3)
    return tuple(Part(f"ipc{ipc}", "cifar10", ipc, ARMS, protocols, seeds) for ipc in (1, 10, 50))


RECIPE = Recipe(
    name="rivals",
    summary="influence beside loss and difficulty weights of the same effective sample size",
    source="ours; difficulty after arXiv 2408.12483",
    parts=parts,
    published={key: cell for key, cell in table1.published().items() if key[2] == "dc"},
    protocols=table1.PROTOCOLS,
    claims=("arXiv 2408.12483: at few images per class the easier instances serve better.",),
    picture="gains",
)
