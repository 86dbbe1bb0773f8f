"""Knowledge distillation with wrong labels: do influence weights keep accuracy, and do wrong labels weigh less? (ours)

Labels of the training rows and of the validation rows that are cut from them are wrong at random (symmetric): none, a tenth, a
fifth. The two criteria of the paper's summary stand in the table: at least 95 % of the accuracy with right labels is kept
(column `kept`), and instances with wrong labels weigh less than 1 on average (column `wrong`). The second asks little: weights
are the link's own values there, whose mean over all is not 1, so that `wrong` is to be read beside `right`. Rivals that cost
forward passes alone stand beside: loss, small loss, similarity of features.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.students import CONTROLS, part

RIVALS = ("kd+loss", "kd+small-loss", "kd+adapt")
ARMS = (*CONTROLS, "student", "joint", "joint+shuffled", *RIVALS)
SHARES = {"0": None, "1": "symmetric:0.1", "2": "symmetric:0.2"}


def parts(size: str) -> tuple[Part, ...]:
    """Shares of wrong labels: of the digits, then of CIFAR-100."""
    found = []
    for data in ("cifar100", "digits"):
        for tenths, noise in SHARES.items():
            source = {} if noise is None else {"noise": noise}
            clean = None if noise is None else f"{data}-0"
            found.append(
                part(f"{data}-{tenths}", data, size, ARMS, seeds=5 if data == "digits" else 3, source=source, clean=clean)
            )
    return tuple(found)


RECIPE = Recipe(
    name="kd-noise",
    summary="wrong labels, none, a tenth and a fifth: distillation without weights, by influence, by loss and by similarity",
    source="KD-AIF (arXiv 2501.02705), Table 5; rivals ours",
    parts=parts,
    claims=(
        "With a fifth of the labels of CIFAR-100 wrong, KD-AIF has 59.25 percent and knowledge distillation 57.86.",
        "At least 95 percent of the accuracy with right labels is kept, and wrong labels weigh less than 1 on average.",
    ),
    notes=(
        "Columns wrong and right: mean weights, the link's own values, whose mean over all is not 1: compare the two.",
        "Test labels are right; those of the validation rows, which make the weights, are as wrong as those of train.",
    ),
    picture="gains",
)
