"""What could make influence weights help? Variants of them on validation data, for choosing; nothing here is a result (ours).

The first suspects, and what each changes:

    one noisy score of a step     memory=.9: the running mean of an instance's scores, keyed by its row, weighs most
    too uneven weights            tau=3: nine tenths of the effective sample in place of a half
    weights that jump             carry=.9: mirror ascent from the weights that an instance had before
    weights too early             warmup=.5: uniform in the first half of the run, scores measured meanwhile

Two controls: `shuffled`, of the plain weights, and no weights with a longer step (image_lr half as large again): to first order
influence displaces the target along the residual, by about that much (docs/mathematics.md), so a gain that a longer step has
too is none of the weights'. Whatever wins here has still to win on the test split, with fresh seeds. Size `cpu`: 500 image
steps.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe

VARIANTS = ("", ":memory=.9", ":tau=3", ":carry=.9", ":warmup=.5")
METHODS = {  # protocol at size paper and at size cpu, the longer step, numbers of size cpu that are not the short size's own
    "dc": ("dc", "dc", "image_lr=.15", {"iterations": 500, "inner": 5}),
    "dm": ("dsa", "dsa-cpu", "image_lr=1.5", {"iterations": 500}),
}


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10 at 10 images per class, judged on images cut from its training split."""
    found = []
    for method, (paper, cpu, longer, short) in METHODS.items():
        longer = f"{method}:{longer}"
        weighted = tuple(f"{method}+influence{variant}" for variant in VARIANTS)
        pairs = ((longer, method), (weighted[0], longer), *((arm, weighted[0]) for arm in weighted[1:]))
        arms, name = (method, *weighted, f"{method}+shuffled", longer), f"{method}-ipc10"
        if size == "paper":
            found.append(Part(name, "cifar10", 10, arms, (paper,), 5, flags={"split": "val"}, pairs=pairs))
        else:
            found.append(Part(name, "cifar10", 10, arms, (cpu,), 3, flags={"split": "val", **short}, pairs=pairs))
    return tuple(found)


RECIPE = Recipe(
    name="remedies",
    summary="variants of the influence weights of dc and dm, and a longer step without them, on validation data",
    source="ours",
    parts=parts,
    notes=("Accuracies are on validation images, for choosing among variants: none of them is a result.",),
    picture="gains",
)
