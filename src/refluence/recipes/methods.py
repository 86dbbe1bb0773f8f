"""Is every method worth its time? Each method and selection beside random images, tiled ones too, under one protocol (ours).

The methods' own reports judge each under another protocol, so their numbers do not compare. Here all are judged under that of
DSA. What holds four images in the room of one (`idc`, `dream`, `pdd`, `idm`, `ncfm`: factor 2) has its rival in
`random:factor=2`: as many reduced real images, nothing distilled.
"""

from __future__ import annotations

from refluence.recipes.base import REAL, Part, Recipe

SELECTIONS = ("kcenter", "forgetting", "el2n", "loss", "influence")
DISTILLED = ("dc", "dsa", "dm", "idc1")
SEVERAL = ("idc", "dream", "pdd", "idm", "ncfm")  # images in the room of one
TILED = "random:factor=2"


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10 at 10 images per class."""
    arms = (*REAL, *SELECTIONS, TILED, *(f"{name}:factor=2" for name in ("herding", *SELECTIONS)), *DISTILLED, *SEVERAL)
    pairs = tuple((name, TILED) for name in SEVERAL)
    protocol, seeds = ("dsa", 5) if size == "paper" else ("dsa-cpu", 3)
    return (Part("ipc10", "cifar10", 10, arms, (protocol,), seeds, pairs=pairs),)


RECIPE = Recipe(
    name="methods",
    summary="every method and selection beside random images, under one protocol",
    source="ours",
    parts=parts,
    notes=(
        "All are judged under DSA's protocol, which is that of dsa, dm and idm; the others have their own.",
        "The stages of pdd are trained on together here, its own protocol trains stage by stage.",
    ),
    picture="arms",
)
