"""From influences to weights: how scores are standardised, which link, and how steep (ours).

The paper has the sigmoid and does not say how scores are scaled; the summary's third check asks for it. Every arm is `student`
with one of these changed; a fifth of the labels are wrong, so that there is something to weigh.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.students import CONTROLS, part

STANDARDISED = tuple(f"student:standardise={how}" for how in ("std", "robust", "scale", "none"))
LINKS = ("student:link=exp", "student:link=softmax", "student:link=relu", "student:link=relu,bag=batch")
STEEPNESS = ("student:tau=.5", "student:tau=2")
CURVATURES = ("student:curvature=ggn", "student:curvature=ekfac")
ARMS = (*CONTROLS, "student", *STANDARDISED, *LINKS, *STEEPNESS, *CURVATURES)
PAIRS = tuple((arm, "student") for arm in ARMS[len(CONTROLS) + 1 :])


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10, then the digits."""
    noise = {"noise": "symmetric:0.2"}
    return (
        part("cifar10", "cifar10", size, ARMS, source=noise, pairs=PAIRS, primary="student"),
        part("digits", "digits", size, ARMS, seeds=5, source=noise, pairs=PAIRS, primary="student"),
    )


RECIPE = Recipe(
    name="kd-normalisation",
    summary="standardising, link, steepness and curvature of influence weights in distillation",
    source="ours",
    parts=parts,
    picture="gains",
)
