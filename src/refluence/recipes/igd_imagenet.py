"""Table 2 of IGD (ICLR 2025): ImageNet-1K at 10, 50 and 100 images per class, soft labels of a teacher (protocol `rded`).

Numbers are published for 10 and 50; 100 has scales in Table 12. At size cpu, ours: digits by `rded-cpu`.
"""

from __future__ import annotations

from dataclasses import replace

from refluence.recipes.base import Part, Recipe
from refluence.recipes.sampled import IPCS, cells, part, scaled

ARMS = ("random", "dit", "dit+igd", "dit+pool", "minimax", "minimax+igd", "minimax+pool")
TABLE = {
    "dit": "39.6±0.4 52.9±0.6",
    "dit+igd": "45.5±0.5 59.8±0.3",
    "minimax": "44.3±0.5 58.6±0.3",
    "minimax+igd": "46.2±0.6 60.3±0.4",
}


def parts(size: str) -> tuple[Part, ...]:
    """A part for each number of images per class."""
    if size == "cpu":
        return (replace(part("digits-ipc10", "digits", 10, ARMS, size), protocols=("rded-cpu",)),)
    return tuple(
        part(
            f"imagenet-ipc{ipc}",
            "imagenet",
            ipc,
            tuple(scaled(arm, "imagenet", ipc) for arm in ARMS),
            size,
            protocols=("rded",),
        )
        for ipc in IPCS
    )


RECIPE = Recipe(
    name="igd-imagenet",
    summary="sampled sets of ImageNet-1K with the soft labels of a teacher",
    source="IGD (ICLR 2025), Table 2",
    parts=parts,
    published={
        ("imagenet", ipc, scaled(arm, "imagenet", ipc)): cell
        for arm, line in TABLE.items()
        for ipc, cell in zip((10, 50), cells(line), strict=True)
    },
    claims=("Guidance is worth 5.9 points to DiT at 10 images per class and 6.9 at 50, judged by ResNet-18.",),
    notes=("The teacher is a ResNet-18 that is trained here first, once for all arms.",),
    picture="arms",
)
