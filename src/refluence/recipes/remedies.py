"""What could make influence weights help? Variants of them on validation data, for choosing; nothing here is a result (ours).

The first suspects, and what each changes:

    one noisy score of a step     memory=.9: the running mean of an instance's scores, keyed by its row, weighs most
    too uneven weights            tau=3: nine tenths of the effective sample in place of a half
    weights that jump             carry=.9: mirror ascent from the weights that an instance had before
    weights too early             warmup=.5: uniform in the first half of the run, scores measured meanwhile

`shuffled` is the control of the plain weights. Whatever wins here has still to win on the test split, with fresh seeds.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe

VARIANTS = ("", ":memory=.9", ":tau=3", ":memory=.9,tau=3", ":carry=.9", ":warmup=.5")
PROTOCOLS = {"dc": ("dc", "dc"), "dm": ("dsa", "dsa-cpu")}  # of size paper and cpu


def parts(size: str) -> tuple[Part, ...]:
    """CIFAR-10 at 10 images per class, judged on images cut from its training split."""
    found = []
    for method, protocols in PROTOCOLS.items():
        weighted = tuple(f"{method}+influence{variant}" for variant in VARIANTS)
        pairs = tuple((arm, f"{method}+influence") for arm in weighted[1:])
        arms, seeds = (method, *weighted, f"{method}+shuffled"), 5 if size == "paper" else 3
        protocol = protocols[size == "cpu"]
        found.append(Part(f"{method}-ipc10", "cifar10", 10, arms, (protocol,), seeds, flags={"split": "val"}, pairs=pairs))
    return tuple(found)


RECIPE = Recipe(
    name="remedies",
    summary="variants of the influence weights of dc and dm, compared on validation data",
    source="ours",
    parts=parts,
    notes=("Accuracies are on validation images, for choosing among variants: none of them is a result.",),
    picture="gains",
)
