"""What the authors' notebooks do (Sharonwu96/KD-AIF), as near as arms come, beside the paper's own form.

Theirs: first the teacher learns by weighted cross-entropy, then the student by KL alone at temperature 7, SGD at a constant
rate with momentum .9; scores by a recursion of depth 1, which is an identity curvature; scores mapped to [-1, 1] by their
extremes, then exp(+phi): what *raises* the validation risk weighs more. The paper has 2 / (1 + exp(phi)), where it weighs less.
`CODE` is theirs, `TURNED` the same with the paper's sign, and both stand beside the same distillation without weights.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.students import part

NUMBERS = "alpha=0,augment=0,epochs=10,schedule=constant,temperature=7,weight_decay=0"
LINK = "link=exp,standardise=scale,tau=11"
CODE, TURNED = (f"staged:{NUMBERS},teacher_alpha=0,{LINK},sign={sign}" for sign in ("1", "-1"))
PLAIN = f"kd:{NUMBERS}"
ARMS = ("scratch", "kd", PLAIN, CODE, TURNED, "staged")
PAIRS = ((CODE, PLAIN), (TURNED, PLAIN), (TURNED, CODE))


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-100 as theirs, then the digits with a fifth of the labels wrong, where the sign should tell."""
    noise = {"noise": "symmetric:0.2"}
    return (
        part("cifar100", "cifar100", size, ARMS, pairs=PAIRS, primary=CODE),
        part("digits-noise", "digits", size, ARMS, seeds=5, source=noise, pairs=PAIRS, primary=CODE),
    )


RECIPE = Recipe(
    name="paper-code",
    summary="what the authors' notebooks do, whose weights have the other sign, beside the paper's own form",
    source="Sharonwu96/KD-AIF, facts alone; KD-AIF (arXiv 2501.02705)",
    parts=parts,
    claims=("The notebooks print 74.37 percent for the teacher and 60.56 for the student on CIFAR-100.",),
    notes=(
        "Theirs: ImageNet weights of ResNet-50 and MobileNetV2 at 224 pixels, batches in one order, 5 epochs of the teacher; "
        "here both networks are trained from nothing.",
        "Theirs: KL without the factor T^2, which at T = 7 is a rate 49 times smaller; here the factor stays, at the usual "
        "rate.",
        "Theirs: scores against one test image, once; here against the half of the validation split that makes weights, each "
        "epoch.",
        "Theirs: scores divided by their extremes; here by 11 root mean squares, about as much for the scores that they print.",
    ),
    picture="gains",
)
