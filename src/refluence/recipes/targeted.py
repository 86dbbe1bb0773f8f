"""Images from another domain: do validation images of the wanted one find them, and does that help before distilling? (ours)

In each class half of the training images are from elsewhere, with right labels; validation images, which are cut from train,
and test images are not. A loss sees nothing in this that is wrong. Random images and DM, each

    as it is                     X
    without the worse half       X+pruned:by=score,keep=.5   of each class, by the influence on the risk of validation images:
                                 terms=implicit, what training on an instance does to it; terms=both, its own error too
    weighted                     X+scores:terms=implicit

beside the same by the held-out loss of the same networks, at random, and the ceiling `by=truth`. That half is to go is given
here (`keep=.5`), not estimated: an estimate of wrong labels does not see another domain.

    digits-inverted    inverted and mirrored; five images a class
    cifar10-colours    10,000 images; channels permuted and a quarter turn; twenty images a class

Size `cpu` as in `noisy`.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.noisy import CHANCE, RIVAL, part

HALF = "keep=.5"
PRIMARY = f"dm+pruned:by=score,terms=implicit,{HALF}"


def arms_of(method: str) -> tuple[str, ...]:
    """A method as it is, on the better half by each, weighted, and its ceiling."""
    scored = tuple(f"{method}+pruned:by=score,terms={terms},{HALF}" for terms in ("implicit", "both"))
    others = tuple(f"{method}+pruned:by={by},{HALF}" for by in (RIVAL, CHANCE))
    weighted = (f"{method}+scores:terms=implicit", f"{method}+scores:by={CHANCE},terms=implicit")
    return (method, *scored, *others, *weighted, f"{method}+pruned:by=truth")


ARMS = (*arms_of("random"), *arms_of("dm"))
PAIRS = tuple(
    (f"{method}+pruned:by=score,terms=implicit,{HALF}", f"{method}+pruned:by=score,terms=both,{HALF}")
    for method in ("random", "dm")
)


def parts(size: str) -> tuple[Part, ...]:
    """The digits, which are quick, then CIFAR-10."""
    inverted, colours = {"shift": "invert+mirror:0.5"}, {"shift": "colours+turn:0.5", "rows": 10_000}
    return (
        part("digits-inverted", "digits", size, 5, ARMS, 5, inverted, PAIRS, PRIMARY),
        part("cifar10-colours", "cifar10", size, 20, ARMS, 3, colours, PAIRS, PRIMARY),
    )


RECIPE = Recipe(
    name="targeted",
    summary="half of each class from another domain: images dropped by score, by loss and at random, or weighted, before dm",
    source="ours",
    parts=parts,
    notes=(
        "Validation and test images are from the wanted domain alone; labels are right everywhere.",
        "That half of each class is to go is given (keep=.5), not estimated.",
    ),
    picture="gains",
)
