"""The four mechanisms of KD-AIF (arXiv 2501.02705, Table 1), beside distillation without weights and with shuffled ones.

Size `paper`: ResNet32x4 -> MobileNetV2 under the CRD protocol (arXiv 1910.10699). Size `cpu`: ConvNets of width 128 and 32, all
digits and 10,000 images of CIFAR-10. The numbering of mechanisms 2 and 4 is ours.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.students import CONTROLS, part

MECHANISMS = ("student", "teacher", "joint", "staged")
SHUFFLED = tuple(f"{name}+shuffled" for name in MECHANISMS[1:])  # of `student` it is kd+shuffled
ARMS = (*CONTROLS, *MECHANISMS, *SHUFFLED)
PAIRS = (("joint", "student"), ("joint", "teacher"), ("joint", "staged"))


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10 as published, then the digits."""
    return (
        part("cifar10", "cifar10", size, ARMS, pairs=PAIRS, primary="joint"),
        part("digits", "digits", size, ARMS, seeds=5, pairs=PAIRS, primary="joint"),
    )


RECIPE = Recipe(
    name="kd-mechanisms",
    summary="the four mechanisms of KD-AIF beside distillation without weights and with shuffled ones",
    source="KD-AIF (arXiv 2501.02705), Table 1",
    parts=parts,
    claims=(
        "On CIFAR-10 mechanism 3 (joint) has 76.40 and 60.68 percent (teacher, student), distillation 73.44 and 55.55.",
        "To weigh for teacher and student at once is better than for one of them.",
    ),
    notes=(
        "The published pair of numbers is more likely of CIFAR-100 after short training (what the authors' notebooks print): "
        "differences alone are compared.",
    ),
    picture="gains",
)
