"""Do influence weights help? Without weights, with them, and their controls, method by method, with paired seeds (ours).

Size `cpu`: on CIFAR-10 1,000 image steps for `dc` and `dm`, 500 for `dsa`, with 5 inner epochs (a tenth of the published 50)
where a network is trained on S; `idc` and CIFAR-100 at the short size's own 200; real images in rows of their own. First the
gradient and the distribution method at 10 images per class with five seeds, then at 1, other methods and CIFAR-100 with three.

Three parts ask what a difference is worth, beside arms whose rows serve them from the parts before:

    dc-ipc10-seconds  no weights, but about as many seconds: 1.35 times the image steps (1.24 to 1.58 times the seconds in the
                      last four seeds of `dc-ipc10`, on shared cores; size `paper` takes the factor over, unmeasured)
    dc-ipc10-rate     a longer step, an image rate half as large again (better on validation images, recipe `remedies`)
    idc-ipc10-rate    a tenth of the image rate, at which weights cost IDC less on validation images (the same recipe)
"""

from __future__ import annotations

from dataclasses import replace

from refluence.recipes import remedies, table1
from refluence.recipes.base import REAL, Part, Recipe

PUBLISHED = ("random", "herding", "dc", "dc+influence", "idc", "idc+influence")
WEIGHTS = ("", "+influence", "+shuffled", "+loss", "+flipped")
AS_LONG = {"paper": "iterations=13500", "cpu": "iterations=1350"}  # DC without weights, in about its seconds with them
# method, set, images per class; at size cpu: seeds and numbers that are not the short size's own
GRID: tuple[tuple[str, str, int, int, dict[str, int]], ...] = (
    ("dc", "cifar10", 10, 5, {"iterations": 1000, "inner": 5}),
    ("dm", "cifar10", 10, 5, {"iterations": 1000}),
    ("dc", "cifar10", 1, 3, {"iterations": 1000}),
    ("dm", "cifar10", 1, 3, {"iterations": 1000}),
    ("dsa", "cifar10", 10, 3, {"iterations": 500, "inner": 5}),
    ("idc", "cifar10", 10, 3, {}),
    ("dc", "cifar100", 1, 3, {"real_batch": 32}),
)
PROTOCOLS = {
    "dc": (("dc", "iwd"), ("dc", "iwd")),
    "dm": (("dsa",), ("dsa-cpu", "dc")),
    "dsa": (("dsa",), ("dsa-cpu",)),
    "idc": (("iwd-idc",), ("idc-cpu",)),
}


def parts(size: str) -> tuple[Part, ...]:
    """A method, a set and a number of images per class each."""
    found = []
    for method, data, ipc, seeds, options in GRID:
        name = f"{method}-ipc{ipc}" if data == "cifar10" else f"{data}-{method}-ipc{ipc}"
        real = (*REAL, "random:factor=2") if method == "idc" else REAL
        arms, protocols = (*real, *(f"{method}{weights}" for weights in WEIGHTS)), PROTOCOLS[method]
        if size == "paper":
            found.append(Part(name, data, ipc, arms, protocols[0]))
        else:
            found.append(Part(name, data, ipc, arms, protocols[1], seeds, options=options))
    dc, idc = (next(part for part in found if part.name == name) for name in ("dc-ipc10", "idc-ipc10"))
    rates = _rate(dc, remedies.LONGER["dc"]), _rate(idc, remedies.TENTH[size])
    return (*found, _seconds(dc, AS_LONG[size]), *rates)


def _seconds(part: Part, steps: str) -> Part:
    """DC with weights, and without for about as many seconds."""
    longer = f"dc:{steps}"
    pairs = (("dc+influence", longer), (longer, "dc"))
    return replace(part, name="dc-ipc10-seconds", arms=("dc", "dc+influence", "dc+shuffled", longer), pairs=pairs)


def _rate(part: Part, rate: str) -> Part:
    """At the image rate of the part and at another one, with the weights and without."""
    method = part.name.partition("-")[0]
    own = (method, f"{method}+influence", f"{method}+shuffled")
    plain, weighted, shuffled = (f"{arm}:{rate}" for arm in own)
    pairs = ((plain, method), (own[1], plain), (weighted, own[1]))
    return replace(part, name=f"{part.name}-rate", arms=(*own, plain, weighted, shuffled), pairs=pairs, primary=weighted)


RECIPE = Recipe(
    name="iwd",
    summary="do influence weights help? dc, dm, dsa, idc without weights, with them, and their controls",
    source="ours; numbers beside it from IWD (arXiv 2510.27253), Table 1",
    parts=parts,
    published=table1.published(*PUBLISHED),
    protocols=table1.PROTOCOLS,
    claims=("Influence weights raise the accuracy of DC and IDC on every set and at every number of images per class.",),
    picture="gains",
)
