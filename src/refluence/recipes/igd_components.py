"""Table 5 of IGD (ICLR 2025): influence guidance, deviation guidance, both, or none; ImageNette, judged by ResNet-18."""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.sampled import cells, part, saying, scaled

VARIANTS = ("", "+influence", "+deviation", "+igd")
ARMS = tuple(f"{method}{variant}" for method in ("dit", "minimax") for variant in VARIANTS)
POOLS = ("dit+pool", "minimax+pool")
CFG = "cfg=1"
"""Of `dit` and `dit+igd` once more (ours): what influence gains there is not the undoing of classifier-free guidance."""
TABLE = {
    "dit": "75.2±0.9 77.8±0.6",
    "dit+influence": "76.5±0.6 79.1±0.4",
    "dit+deviation": "78.2±0.4 80.7±0.7",
    "dit+igd": "81.0±0.7 84.4±0.8",
    "minimax": "78.1±0.6 81.3±0.7",
    "minimax+influence": "81.5±0.4 85.1±0.4",
    "minimax+deviation": "78.5±0.2 82.8±0.3",
    "minimax+igd": "82.0±0.3 86.0±0.6",
}


def arms(ipc: int, size: str) -> tuple[str, ...]:
    """All arms of a part, with the scales of Table 12 at size paper."""
    plain = (*ARMS, *POOLS, "dit", "dit+igd")
    own = plain if size == "cpu" else tuple(scaled(arm, "imagenette", ipc) for arm in plain)
    return (*own[:-2], *(saying(arm, CFG) for arm in own[-2:]))


def parts(size: str) -> tuple[Part, ...]:
    """50 and 100 images per class; at size cpu 5 of digits and of MNIST."""
    if size == "cpu":
        return tuple(part(f"{data}-ipc5", data, 5, arms(5, size), size) for data in ("mnist", "digits"))
    return tuple(part(f"ipc{ipc}", "imagenette", ipc, arms(ipc, size), size) for ipc in (50, 100))


RECIPE = Recipe(
    name="igd-components",
    summary="guidance by influence, by deviation, by both, and by none",
    source="IGD (ICLR 2025), Table 5",
    parts=parts,
    published={
        ("imagenette", ipc, scaled(arm, "imagenette", ipc)): cell
        for arm, line in TABLE.items()
        for ipc, cell in zip((50, 100), cells(line), strict=True)
    },
    claims=("Each guidance alone helps, and both together help most.",),
    notes=("Arms with cfg=1 are ours: guidance by influence without classifier-free guidance that it could undo.",),
    picture="arms",
)
