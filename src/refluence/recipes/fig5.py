"""Fig. 5 of IWD (arXiv 2510.27253, sec. 5.2): synthetic images in the order of their influence, IWD with DC at IPC 1.

At one image per class a class has one image: how the paper comes to rows of several it does not say. Ours are those of the
seeds. The influence of a synthetic image is <grad_1 D, phi_i> on untrained networks (`condense/scoring.py`), a reading of ours.
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
    published={key: cell for key, cell in table1.published().items() if key[2] == ARM},
    claims=(
        "Images of low influence are trivially easy, or redundant and ambiguous.",
        "Images of high influence show what is typical of the class, or are hard and still informative.",
    ),
    notes=(
        "Images of one seed are scored on that seed's own networks: the order across seeds mixes image and network.",
        "A row is a class, its images are those of the seeds, the lowest influence on the left.",
    ),
    picture="gallery",
)
