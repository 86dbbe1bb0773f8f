"""Fig. 4b of IWD (arXiv 2510.27253, sec. 5.2): do the weights help on another architecture?

ConvNet-3 and ResNet-10, each both distilling and judging. The paper does not say at how many images per class; 10 is ours, and
so is the norm of the ResNet (the published one of `refluence ls`).
"""

from __future__ import annotations

from refluence.recipes.base import CONTROLS, REAL, Part, Recipe

MODELS = {"convnet3": "convnet", "resnet10": "resnet10"}  # `convnet` is ConvNet-3 at 32 pixels, and fits other sizes too


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10, an architecture a part."""
    protocols, seeds = (("iwd", "dc"), 5) if size == "paper" else (("iwd-cpu", "dc-cpu"), 3)
    arms = (*REAL, "dc", "dc+influence", *CONTROLS)
    return tuple(Part(name, "cifar10", 10, arms, protocols, seeds, model) for name, model in MODELS.items())


RECIPE = Recipe(
    name="fig4b",
    summary="influence weights on ConvNet-3 and ResNet-10",
    source="IWD (arXiv 2510.27253), Fig. 4b",
    parts=parts,
    shown=("dc", "dc+influence"),
    claims=("With influence weights accuracy is higher than without on both architectures.",),
    notes=("The paper does not say at how many images per class: 10 is ours.",),
    picture="arms",
)
