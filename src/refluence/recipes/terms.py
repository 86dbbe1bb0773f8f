"""Explicit influence alone against explicit and implicit, on IDC (IWD, arXiv 2510.27253, eq. 22).

IDC's networks train on the real set, so the influence has an implicit term: an instance also moves the networks. The paper has
the equation and no ablation of it; this one is ours. The term is that of a stationary network (docs/mathematics.md).
"""

from __future__ import annotations

from refluence.recipes import table1
from refluence.recipes.base import REAL, Part, Recipe

BOTH = "idc+influence:terms=both"
BLIND = ("idc+shuffled", "idc+shuffled:terms=both", "idc+loss", "idc+flipped")
ARMS = (*REAL, "random:factor=2", "idc", "idc+influence", BOTH, *BLIND)
PAIRS = ((BOTH, "idc+influence"),)


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10 at 1 and 10 images per class."""
    protocols, seeds = (("iwd-idc",), 5) if size == "paper" else (("idc-cpu",), 3)
    return tuple(Part(f"ipc{ipc}", "cifar10", ipc, ARMS, protocols, seeds, pairs=PAIRS) for ipc in (1, 10))


RECIPE = Recipe(
    name="terms",
    summary="explicit influence alone against explicit and implicit, on IDC",
    source="ours; the terms are those of IWD (arXiv 2510.27253), eq. 22",
    parts=parts,
    published=table1.published(*REAL, "idc", "idc+influence"),
    protocols=table1.PROTOCOLS,
    claims=("Where networks train on the real set, as IDC's do, the implicit term dominates.",),
    notes=("Which terms the paper's weights for IDC have it does not say, and it has no ablation of them.",),
    picture="gains",
)
