"""Labels of a few rows: supervised, pseudo-labels without weights, and pseudo-labels weighted by influence.

CIFAR-10 with 4,000 labels and SVHN with 1,000, as Meta Pseudo Labels (arXiv 2003.10580) has them, with WRN-28-2; digits and
MNIST with 100. `scratch` learns from the labelled rows alone, for as many steps in batches of the same size. Size `cpu`: 2,000
steps, teacher and student ConvNets of width 32.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.students import WIDE, part
from refluence.transfer import semi_settings
from refluence.transfer.settings import whole_epochs

ARMS = ("scratch", "semi", "semi+influence", "semi+shuffled")
LABELLED = {"cifar10": 4000, "svhn": 1000, "mnist": 100, "digits": 100}
NAMES = {"cifar10": "cifar10-4k", "svhn": "svhn-1k", "mnist": "mnist-100", "digits": "digits-100"}


def parts(size: str) -> tuple[Part, ...]:
    """A set each, with labels of so many rows."""
    return tuple(
        part(
            NAMES[data],
            data,
            size,
            ARMS,
            networks=WIDE,
            transfer=lengths(size, count),
            source={"labelled": count},
            primary="semi+influence",
        )
        for data, count in LABELLED.items()
    )


def lengths(size: str, labelled: int) -> dict[str, object]:
    """The batch of all arms, and the epochs of `scratch` that are as many steps as `semi` has, which epochs do not concern."""
    settings = semi_settings.PAPER if size == "paper" else semi_settings.CPU
    batch = min(settings.batch, labelled)
    own: dict[str, object] = {"batch": batch, "epochs": whole_epochs(settings.steps, labelled, batch)}
    return own if size == "paper" else {**own, "teacher": "convnet:32"}


RECIPE = Recipe(
    name="kd-semi",
    summary="labels of a few rows: supervised, pseudo-labels without weights, and weighted by influence",
    source="KD-AIF (arXiv 2501.02705); benchmarks of arXiv 2003.10580",
    parts=parts,
    claims=("KD-AIF is better than other semi-supervised methods on CIFAR-10 with 4,000 labels and SVHN with 1,000.",),
    notes=(
        "What the mechanism does exactly is not published; transfer/semi.py says what is built.",
        "Columns wrong and right: mean weights of images whose pseudo-label is wrong and right, compared with each other.",
    ),
    picture="gains",
)
