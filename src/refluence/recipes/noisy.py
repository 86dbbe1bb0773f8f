"""Wrong labels: does it pay to clean before distilling, and does influence clean better than loss, or than chance? (ours)

Real images with wrong labels, the images that are judged on with right ones. Random images and DM, each

    as it is                     X
    without the worst            X+pruned:by=score     the share of each class that the table says is wrong, by its scores
    with other labels            X+relabelled          that share gets the class that held-out networks suggest
    weighted                     X+scores              every instance by its score

where `score` is the influence on the risk of validation images (`refluence score`, one table a seed). Each of the three
stands beside the same by the held-out loss of the same networks, which costs no influence, and at random. The ceiling is
without exactly the wrong ones, `by=truth`. How many are wrong is the table's own estimate (`keep=auto`), in every arm.

    digits-symmetric   two fifths of the labels of each class are any other one; so are those of the validation images
    cifar10-human      10,000 images with the labels of CIFAR-10N's `random_label1` (arXiv 2110.12088): one person each

Size `cpu`: 300 image steps; sets of CIFAR-10 are judged by two networks.
"""

from __future__ import annotations

from collections.abc import Mapping

from refluence.recipes.base import Part, Recipe

RIVAL, CHANCE = "held-out-loss", "random"
PRIMARY = "dm+pruned:by=score"
SHORT: dict[str, dict[str, object]] = {"digits": {"iterations": 300}, "cifar10": {"iterations": 300, "nets": 2}}  # size cpu


def arms_of(method: str) -> tuple[str, ...]:
    """A method as it is, cleaned and weighted by each, and its ceiling."""
    pruned = (f"{method}+pruned:by=score", f"{method}+pruned:by={RIVAL}", f"{method}+pruned:by={CHANCE},keep=auto")
    relabelled = (f"{method}+relabelled", *(f"{method}+relabelled:by={by}" for by in (RIVAL, CHANCE)))
    weighted = (f"{method}+scores", *(f"{method}+scores:by={by}" for by in (RIVAL, CHANCE)))
    return (method, *pruned, *relabelled, *weighted, f"{method}+pruned:by=truth")


ARMS = (*arms_of("random"), *arms_of("dm"))
PAIRS = tuple(
    (f"{method}+{other}", f"{method}+pruned:by=score") for method in ("random", "dm") for other in ("relabelled", "scores")
)


def parts(size: str) -> tuple[Part, ...]:
    """The digits, which are quick, then CIFAR-10."""
    symmetric, human = {"noise": "symmetric:0.4"}, {"labels": "cifar10n:random_label1", "rows": 10_000}
    return (
        part("digits-symmetric", "digits", size, 10, ARMS, 5, symmetric, PAIRS, PRIMARY),
        part("cifar10-human", "cifar10", size, 10, ARMS, 3, human, PAIRS, PRIMARY),
    )


def part(
    name: str,
    data: str,
    size: str,
    ipc: int,
    arms: tuple[str, ...],
    seeds: int,
    source: Mapping[str, object],
    pairs: tuple[tuple[str, str], ...],
    primary: str,
) -> Part:
    """A part under DM's protocol; at size cpu with as many seeds as are given and less work (SHORT)."""
    if size == "paper":
        return Part(name, data, ipc, arms, ("dm",), pairs=pairs, primary=primary, source=source)
    return Part(name, data, ipc, arms, ("dsa-cpu",), seeds, options=SHORT[data], pairs=pairs, primary=primary, source=source)


RECIPE = Recipe(
    name="noisy",
    summary="wrong labels: real images dropped, relabelled or weighted by score, by loss and at random, before dm",
    source="ours",
    parts=parts,
    notes=(
        "The images that are judged on have right labels; those of train and of the validation split cut from it have not.",
        "How many are dropped or relabelled is the table's own estimate of the share of wrong labels, a table a seed.",
    ),
    picture="gains",
)
