"""Table 8 of IGD (ICLR 2025): CIFAR-10 up to 1,000 and CIFAR-100 up to 100 images per class, judged by a ConvNet.

The paper does not say which denoiser it has at 32 pixels; ours is a `unet` that is trained first.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.sampled import part

ARMS = ("random", "dit", "dit+igd", "dit+pool")
COLUMNS = {"cifar10": (10, 50, 500, 1000), "cifar100": (10, 50, 100)}


def parts(size: str) -> tuple[Part, ...]:
    """Each set at its numbers of images per class; at size cpu digits."""
    if size == "cpu":
        return (part("digits-ipc10", "digits", 10, ARMS, size, options={"denoiser": "unet"}),)
    return tuple(
        part(f"{data}-ipc{ipc}", data, ipc, ARMS, size, model="convnet", protocols=("dsa",), options={"denoiser": "unet"})
        for data, ipcs in COLUMNS.items()
        for ipc in ipcs
    )


RECIPE = Recipe(
    name="igd-cifar",
    summary="sampled sets of small images, at many images per class",
    source="IGD (ICLR 2025), Table 8",
    parts=parts,
    claims=("At a fifth of CIFAR-10 sampled sets are nearly as good as everything.",),
    notes=("Its numbers are not in the text that we have of the paper. The protocol is ours: it does not state one.",),
    picture="arms",
)
