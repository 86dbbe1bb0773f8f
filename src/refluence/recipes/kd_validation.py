"""How many validation instances do weights need, and from where? (ours; an open question of KD-AIF, arXiv 2501.02705)

A half of the validation split makes the weights. Its size: 2, 5, 10, 20 and 50 percent of the training rows are held out, all
labels as they are or a fifth of them wrong. Its distribution: half of the training rows are from another domain and the
validation rows are not, so that weights could find them. A validation source of one's own is `--validation SRC`.

A student learns from fewer rows the more are held out: arms are compared within a part, never across parts.
"""

from __future__ import annotations

from collections.abc import Mapping

from refluence.recipes.base import Part, Recipe
from refluence.recipes.students import CONTROLS, part

ARMS = (*CONTROLS, "student", "kd:also=validation")
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)
NOISE = {"noise": "symmetric:0.2"}


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10 with few and many, then the digits, as they are, with wrong labels, and from another domain."""
    found = [of("cifar10", size, share, NOISE, f"cifar10-noise-{100 * share:.0f}") for share in SHARES]
    found += [of("digits", size, share, NOISE, f"digits-noise-{100 * share:.0f}") for share in SHARES[1:]]
    found += [of("digits", size, share, {}, f"digits-{100 * share:.0f}") for share in SHARES[1:]]
    return (*found, of("digits", size, 0.2, {"shift": "invert+mirror:0.5"}, "digits-inverted"))


def of(data: str, size: str, share: float, source: Mapping[str, object], name: str) -> Part:
    """A share of the training rows held out."""
    return part(name, data, size, ARMS, seeds=5 if data == "digits" else 3, source={"val_fraction": share, **source})


RECIPE = Recipe(
    name="kd-validation",
    summary="size and shift of the validation split that makes weights",
    source="ours; an open question of KD-AIF (arXiv 2501.02705)",
    parts=parts,
    notes=("A part holds out another share of the training rows: accuracies of parts are of different training sets.",),
    picture="gains",
)
