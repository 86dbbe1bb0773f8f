"""Long tails: the largest class has ten or a hundred times the rows of the smallest (ours; an open question of KD-AIF).

The validation rows that make weights are cut from train and are as uneven; test rows are even. With `bag=class` instances
compete inside their class, so that weights do not move weight from class to class. The worst class stands beside the mean.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.students import CONTROLS, part

BY_CLASS = "student:bag=class"
ARMS = (*CONTROLS, "student", BY_CLASS, "kd+loss")
RATIOS = (10.0, 100.0)


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10 at both ratios, then the digits at the smaller one."""
    pairs = ((BY_CLASS, "student"),)
    found = [
        part(f"cifar10-{ratio:.0f}", "cifar10", size, ARMS, source={"imbalance": ratio}, pairs=pairs, primary="student")
        for ratio in RATIOS
    ]
    source = {"imbalance": RATIOS[0], "val_fraction": 0.2}
    return (*found, part("digits-10", "digits", size, ARMS, seeds=5, source=source, pairs=pairs, primary="student"))


RECIPE = Recipe(
    name="kd-imbalance",
    summary="long tails: influence weights over all instances and inside each class",
    source="ours; an open question of KD-AIF (arXiv 2501.02705)",
    parts=parts,
    picture="gains",
)
