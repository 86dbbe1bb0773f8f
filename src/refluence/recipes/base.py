"""What a recipe declares: parts (each a comparison of arms), what the paper published, and the picture to draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

REAL = ("random", "herding")  # every table has these rows
CONTROLS = ("dc+shuffled", "dc+loss", "dc+flipped")  # of DC's influence weights
SETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN"}
NOT_STATED, FIGURE_ONLY = "none", "in a figure only"


@dataclass(frozen=True)
class Published:
    """Mean and standard deviation of test accuracy, percent, as printed."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Part:
    """One comparison: arms x seeds on one set. `options` are further fields of `JobOptions`, as `iterations`.

    `data` is a key of `SETS`; `seeds`: how many, from the first seed of the run on. Widths, networks per set and every number
    of the methods are those of the size unless `options` say otherwise. `pairs` (arm, reference) are compared beside what every
    comparison compares (evaluate/references.py). `primary`: the arm that is declared beforehand (default: the first with
    influence weights).
    """

    name: str
    data: str
    ipc: int
    arms: tuple[str, ...]
    protocols: tuple[str, ...]
    seeds: int = 5
    model: str = "convnet"  # ConvNet-3 at 32 pixels
    options: Mapping[str, object] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    primary: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A table or figure. `parts(size)` is its full configuration, in the order in which it is run.

    `published` holds the paper's numbers by (set, images per class, arm); `protocols` says under which protocol (of the
    paper sizes) a number was published, where a part has several. `shown` are arms that the paper has in a figure, without
    numbers. `claims` are what the paper says of it, in our words. `picture`: "arms" or "gains" by images per class, "tau",
    "gallery", or "" for none.
    """

    name: str
    summary: str
    source: str
    parts: Callable[[str], tuple[Part, ...]]
    published: Mapping[tuple[str, int, str], Published] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    picture: str = ""

    def sets(self, size: str) -> tuple[str, ...]:
        """The datasets of the parts, the main one first."""
        return tuple(dict.fromkeys(part.data for part in self.parts(size)))

    def publication(self, part: Part, arm: str, protocol: str) -> Published | str:
        """What the paper has for this cell: a number, or in words why there is none; "" under another protocol.

        "" too in a recipe that has no published number at all.
        """
        if not self.published:
            return ""
        found = self.published.get((part.data, part.ipc, arm))
        if found is None:
            return FIGURE_ONLY if arm in self.shown else NOT_STATED
        return found if plain(protocol) == self.protocols.get(arm, plain(protocol)) else ""


def plain(protocol: str) -> str:
    """The protocol that a short or changed one is made of: `iwd-cpu:epochs=3` to `iwd`."""
    return protocol.partition(":")[0].removesuffix("-cpu")
