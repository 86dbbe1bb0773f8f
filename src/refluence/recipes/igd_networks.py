"""Table 3 of IGD (ICLR 2025): the sets of its Table 2 (igd_imagenet.py), judged by networks that had no part in making them.

Labels are those of one ResNet-18 that was trained on the source, whichever network learns from them (protocol `rded`). Which
Swin the paper has, it does not say: ours is the smallest of torchvision. At size cpu, ours: digits by `rded-cpu`, DiT alone,
and the two networks that are small enough for a CPU.
"""

from __future__ import annotations

from dataclasses import replace

from refluence.recipes.base import Part, Recipe
from refluence.recipes.igd_imagenet import ARMS
from refluence.recipes.sampled import part, scaled

NETWORKS = ("resnet101", "mobilenet_v2", "efficientnet_b0", "swin_t")
"""Names of torchvision."""
SMALL = ("mobilenet_v2", "efficientnet_b0")
IPCS = (10, 50)


def part_of(name: str, data: str, ipc: int, arms: tuple[str, ...], size: str) -> Part:
    """The part that a network judges, a name of torchvision."""
    model = f"torchvision:{name}"
    found = part(f"{data}-ipc{ipc}-{name.replace('_', '')}", data, ipc, arms, size, protocols=("rded",), model=model)
    return replace(found, protocols=("rded-cpu",), model=model) if size == "cpu" else found


def parts(size: str) -> tuple[Part, ...]:
    """A part for each network and number of images per class."""
    if size == "cpu":
        arms = tuple(arm for arm in ARMS if not arm.startswith("minimax"))
        return tuple(part_of(name, "digits", 10, arms, size) for name in SMALL)
    return tuple(
        part_of(name, "imagenet", ipc, tuple(scaled(arm, "imagenet", ipc) for arm in ARMS), size)
        for ipc in IPCS
        for name in NETWORKS
    )


RECIPE = Recipe(
    name="igd-networks",
    summary="the sets of igd-imagenet, judged by networks that had no part in making them",
    source="IGD (ICLR 2025), Table 3",
    parts=parts,
    claims=("Guided samples are better than RDED's sets by 4.6 (DiT) and 5.0 points (Minimax) at 50 images per class.",),
    notes=(
        "Its numbers are not in the text that we have of the paper; those of RDED's sets stand in its own paper, not here.",
        "The teacher is the ResNet-18 of igd-imagenet.",
    ),
    picture="arms",
)
