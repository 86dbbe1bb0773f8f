"""Fig. 5 of IWD (arXiv 2510.27253, sec. 5.2): synthetic images in the order of their influence, IWD with DC at IPC 1.

At one image per class a class has one image: how the paper comes to an order it does not say. Ours is of the images of all
seeds, pooled: <grad_1 D(a, b), phi_i> with a over the pool, on untrained networks that are the same for all of them
(`recipes/pooled.py`; of a set by itself that number is zero).
"""

from __future__ import annotations

from refluence.recipes import table1
from refluence.recipes.base import Part, Recipe

ARM = "dc+influence"


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10 at one image per class, ten seeds: ten images a class to order."""
    return (Part("ipc1", "cifar10", 1, (ARM,), ("iwd",) if size == "paper" else ("iwd-cpu",), 10 if size == "paper" else 5),)


RECIPE = Recipe(
    name="fig5",
    summary="synthetic images of each class, from the lowest to the highest influence",
    source="IWD (arXiv 2510.27253), Fig. 5",
    parts=parts,
    published=table1.published(ARM),
    claims=(
        "Images of low influence are trivially easy, or redundant and ambiguous.",
        "Images of high influence show what is typical of the class, or are hard and still informative.",
    ),
    notes=(
        "A row is a class, its images are those of the seeds, the lowest influence on the left.",
        "Influence here is on the distance of the seeds' images together, on the same untrained networks for all: ours.",
    ),
    picture="gallery",
)
