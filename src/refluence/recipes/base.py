"""What a recipe declares: parts (each a comparison of arms), what the paper published, and the picture to draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

REAL = ("random", "herding")  # every table has these rows
CONTROLS = ("dc+shuffled", "dc+loss", "dc+flipped")  # of DC's influence weights
SETS = {
    **{"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN", "mnist": "MNIST", "digits": "digits"},
    **{"sst2": "SST-2", "mrpc": "MRPC", "rte": "RTE", "qnli": "QNLI"},
    **{"imagenette": "ImageNette", "imagewoof": "ImageWoof", "imagenet": "ImageNet-1K", "food101": "Food-101"},
}
LABELS = {"cifar10n": "CIFAR-10N"}  # Parquet files of further labels, row by row for the train split of another set
PACKAGED = ("digits",)  # sets that are there without being given
NOT_STATED, FIGURE_ONLY = "none", "in a figure only"


@dataclass(frozen=True)
class Published:
    """Mean and standard deviation of test accuracy, percent, as printed."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Part:
    """One comparison: arms x seeds on one set. `options` are further fields of `SetOptions`, as `iterations`.

    `data` is a key of `SETS`; `source` are fields of `SourceOptions` that say how it is read, as `noise`, with
    `labels=NAME:COLUMN` for a column of one of `LABELS`. `seeds`: how many, from the first seed of the run on. Widths, networks
    per set and every number of the methods are those of the size unless `options` say otherwise. `pairs` (arm, reference) are
    compared beside what every comparison compares (evaluate/references.py). `primary`: the arm that is declared beforehand
    (default: the first with influence weights).

    `transfer`: fields of `TransferOptions`, of a part whose arms make students (recipes/students.py); `ipc`, `model` and
    `options` mean nothing there. `clean`: the part on the same data with right labels, of whose accuracy a share is kept.
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
    source: Mapping[str, object] = field(default_factory=dict)
    transfer: Mapping[str, object] = field(default_factory=dict)
    clean: str | None = None

    @property
    def of_students(self) -> bool:
        """Whether its arms make students."""
        return bool(self.transfer)

    @property
    def wants(self) -> tuple[str, ...]:
        """What has to be given: the set, and the file of its labels where they are not its own."""
        labels = str(self.source.get("labels", "")).partition(":")[0]
        return (self.data, labels) if labels in LABELS else (self.data,)


@dataclass(frozen=True)
class Recipe:
    """A table or figure. `parts(size)` is its full configuration, in the order in which it is run.

    `published` holds the paper's numbers by (set, images per class, arm), `by_network` by those and the network; `protocols`
    says under which protocol (of the paper sizes) a number was published, where a part has several. `shown` are arms that the
    paper has in a figure, without numbers. `claims` are what the paper says of it, in our words. `picture`: "arms" or "gains"
    by images per class, "tau", "sweep" (over the number by which the arms of a part differ), "gallery", or "" for none.
    """

    name: str
    summary: str
    source: str
    parts: Callable[[str], tuple[Part, ...]]
    published: Mapping[tuple[str, int, str], Published] = field(default_factory=dict)
    by_network: Mapping[tuple[str, int, str, str], Published] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    picture: str = ""

    def sets(self, size: str) -> tuple[str, ...]:
        """The datasets and files of labels of the parts, the main one first, those that need not be given last."""
        names = dict.fromkeys(name for part in self.parts(size) for name in part.wants)
        return tuple(sorted(names, key=lambda name: name in PACKAGED))

    def publication(self, part: Part, arm: str, protocol: str) -> Published | str:
        """What the paper has for this cell: a number, or in words why there is none; "" under another protocol.

        "" too in a recipe that has no published number at all.
        """
        if not self.published and not self.by_network:
            return ""
        found = self.published.get((part.data, part.ipc, arm)) or self.by_network.get((part.data, part.ipc, arm, part.model))
        if found is None:
            return FIGURE_ONLY if arm in self.shown else NOT_STATED
        return found if plain(protocol) == self.protocols.get(arm, plain(protocol)) else ""


def plain(protocol: str) -> str:
    """The protocol that a short or changed one is made of: `iwd-cpu:epochs=3` to `iwd`."""
    return protocol.partition(":")[0].removesuffix("-cpu")
