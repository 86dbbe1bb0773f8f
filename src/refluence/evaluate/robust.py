"""Robust scores after DD-Ranking (arXiv 2505.13300): what a set is worth beside its labels and beside augmentation.

With accuracies as fractions in [0, 1], S the distilled set, R real images drawn at random, as many of each class:

    HLR = acc(real, hard) - acc(S, hard)                    hard label recovery, without augmentation
    IOR = acc(S, own) - acc(R, own)                         improvement over random: labels and augmentation of the method
    LRS = n(w IOR - (1 - w) HLR)                            label-robust score
    ARS = n(g [acc(S, aug) - acc(R, aug)] + (1 - g) [acc(S, plain) - acc(R, plain)])    augmentation-robust score
    n(a) = (e^a - e^-1) / (e - e^-1),  w = g = 1/2

n takes [-1, 1] to [0, 1]; a set as good as random images and as the full data has n(0) = .269.

Ours, where DD-Ranking's code (NUS-HPC-AI-Lab/DD-Ranking) does otherwise: it puts percentages into n, which then leaves
[0, 1]; it takes the best of the test evaluations every 20 epochs and, for each set but the full data, the best of five
learning rates by the same test accuracy, and for a set with a learned rate that one alone. Here the last iterate counts, and
every training set chooses among the same five rates (its .001 … .1, as multiples of the protocol's) by the validation
accuracy of one network. Random images get the labels of one network trained on the full data, where S has soft labels; there
it takes stored teachers. A protocol that augments nothing is compared with DSA in the place of `aug`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset
from refluence.data.distilled import DistilledSet, decoded, stored_bytes
from refluence.data.whitening import Whitening, whitening
from refluence.errors import InputError, RunError
from refluence.evaluate.evaluation import evaluate
from refluence.evaluate.measure import Scores
from refluence.evaluate.protocol import Protocol
from refluence.evaluate.train import Compiled
from refluence.files import Json
from refluence.matching.augment import DSA
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.training.predict import evaluating, predict

RATES = (0.1, 0.5, 1.0, 5.0, 10.0)
"""Learning rates to choose from, as multiples of the protocol's own."""
CHUNK = 256


def label_robust_score(real_hard: float, set_hard: float, set_own: float, random_own: float, w: float = 0.5) -> float:
    """LRS of four accuracies in [0, 1]."""
    _fractions(real_hard, set_hard, set_own, random_own, w)
    return _normal(w * (set_own - random_own) - (1 - w) * (real_hard - set_hard))


def augmentation_robust_score(
    set_augmented: float, random_augmented: float, set_plain: float, random_plain: float, gamma: float = 0.5
) -> float:
    """ARS of four accuracies in [0, 1]."""
    _fractions(set_augmented, random_augmented, set_plain, random_plain, gamma)
    return _normal(gamma * (set_augmented - random_augmented) + (1 - gamma) * (set_plain - random_plain))


def _normal(a: float) -> float:
    return (math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1))


def _fractions(*values: float) -> None:
    for value in values:
        if not 0 <= value <= 1:
            raise InputError(f"robust scores are of fractions: {value:g} is not in [0, 1] (divide percentages by 100)")


@dataclass(frozen=True)
class Row:
    """One training set judged: `data` full, set or random; `accuracies` one fraction a network, at the chosen `lr`."""

    data: str
    labels: str
    augmented: bool
    lr: float
    epochs: int
    accuracies: tuple[float, ...]
    net: nn.Module = field(repr=False, compare=False)

    @property
    def accuracy(self) -> float:
        """The mean over networks."""
        return fmean(self.accuracies)


@dataclass(frozen=True)
class Robust:
    """Both scores of the mean accuracies, and of each network by itself; the rows that they come from."""

    protocol: str
    model: str
    lrs: float
    ars: float
    lrs_nets: tuple[float, ...]
    ars_nets: tuple[float, ...]
    hlr: float
    ior: float
    stored_bytes: int
    random_bytes: int
    rows: tuple[Row, ...]

    def to_dict(self) -> Json:
        """Plain values for JSON."""
        rows = [
            {**{k: v for k, v in vars(row).items() if k != "net"}, "accuracies": list(row.accuracies), "accuracy": row.accuracy}
            for row in self.rows
        ]
        return asdict(replace(self, rows=())) | {
            "lrs_nets": list(self.lrs_nets),
            "ars_nets": list(self.ars_nets),
            "rows": rows,
        }


@dataclass(frozen=True)
class Bench:
    """Judges training sets alike. `progress()` is called after every network; `full_images` bounds what the networks of the
    full data see (at least one epoch; None: the protocol's epochs)."""

    dataset: Dataset
    spec: ModelSpec
    protocol: Protocol
    rng: Rng
    nets: int
    split: str = "test"
    device: str | torch.device = "cpu"
    compiled: Compiled = lambda net: net
    full_images: int | None = None
    progress: Callable[[], None] = lambda: None

    @property
    def whitened(self) -> Whitening | None:
        """What the protocol's networks see images through."""
        return whitening(self.protocol.zca, self.dataset)

    def row(self, data: str, images: Tensor, labels: Tensor, augmented: bool, stage: Tensor | None = None) -> Row:
        """The learning rate chosen on validation data, then `nets` networks on the split."""
        protocol, trials = self._protocol(data, len(images), augmented), []
        for share in RATES:
            candidate = replace(protocol, lr=share * protocol.lr)
            try:
                trials.append((self._evaluate(images, labels, candidate, "val", 1, stage)[0][0], candidate))
            except RunError:
                self.progress()  # diverged: not chosen
        if not trials:
            raise RunError(f"no learning rate of {protocol.name} can be trained with on {data} data")
        best = max(trials, key=lambda trial: trial[0])[1]
        accuracies, net = self._evaluate(images, labels, best, self.split, self.nets, stage)
        kind = "soft" if labels.is_floating_point() else "hard"
        return Row(data, kind, augmented, best.lr, best.epochs, accuracies, net)

    def _protocol(self, data: str, count: int, augmented: bool) -> Protocol:
        """The protocol with or without augmentation, for a training set of `count` images."""
        own = self.protocol.resolve(count, self.spec.classes)
        if not augmented:
            own = replace(own, augmentation="none", augmentation_grey="none", augmentation_batch_norm="", mix="none")
        elif not own.augments(self.spec):
            own = replace(own, augmentation=DSA, augmentation_grey=DSA.replace("flip_", ""))
        if data == "full" and self.full_images is not None:
            seen = min(own.batch, count) if own.one_batch else count
            own = replace(own, epochs=max(1, min(own.epochs, self.full_images // seen)))
        return replace(own, rule="")

    def _evaluate(
        self, images: Tensor, labels: Tensor, protocol: Protocol, split: str, nets: int, stage: Tensor | None
    ) -> tuple[tuple[float, ...], nn.Module]:
        kept: list[nn.Module] = []

        def progress(index: int, scores: Scores, net: nn.Module) -> None:
            kept.append(net)
            self.progress()

        found = evaluate(
            images,
            labels,
            self.spec,
            protocol,
            getattr(self.dataset, split),
            self.dataset.mean,
            self.dataset.std,
            self.rng,
            nets,
            self.device,
            progress,
            stage=stage,
            compiled=self.compiled,
            whitened=self.whitened,
        )
        return tuple(a / 100 for a in found.accuracies), kept[0]


def trainings(small: DistilledSet, nets: int) -> int:
    """How many networks `robust` trains."""
    return (5 if small.soft is None else 6) * (len(RATES) + nets)


def robust(small: DistilledSet, bench: Bench) -> Robust:
    """Every accuracy that the scores need, and the scores. Raises `InputError` for classes without training images."""
    dataset, whole = bench.dataset, decoded(small)
    full = bench.row("full", dataset.pixels(dataset.train), dataset.train.labels, False)
    chosen = matched(small.labels, dataset, bench.rng("robust-random", 0))
    random_images, random_labels = dataset.pixels(dataset.train, chosen), small.labels
    kinds = {"hard": (whole.labels, random_labels)}
    if whole.soft is not None:
        seen = random_images if bench.whitened is None else bench.whitened(random_images)
        kinds["soft"] = (whole.soft, taught(full.net, seen, bench.device))
    rows: dict[tuple[str, str, bool], Row] = {}
    own = "hard" if whole.soft is None else "soft"
    for kind, augmented in dict.fromkeys([("hard", False), (own, False), (own, True)]):
        of_set, of_random = kinds[kind]
        rows["set", kind, augmented] = bench.row("set", whole.images, of_set, augmented, whole.stage)
        if kind == own:
            rows["random", kind, augmented] = bench.row("random", random_images, of_random, augmented, small.stage)
    method = bench.protocol.augments(bench.spec)
    for_lrs = (full, rows["set", "hard", False], rows["set", own, method], rows["random", own, method])
    for_ars = tuple(rows[data, own, augmented] for augmented in (True, False) for data in ("set", "random"))
    real_hard, set_hard, set_own, random_own = (row.accuracy for row in for_lrs)
    rival = DistilledSet(random_images, random_labels, small.classes, small.mean, small.std)
    return Robust(
        protocol=bench.protocol.name,
        model=bench.spec.name,
        lrs=label_robust_score(real_hard, set_hard, set_own, random_own),
        ars=augmentation_robust_score(*(row.accuracy for row in for_ars)),
        lrs_nets=tuple(label_robust_score(*each) for each in zip(*(row.accuracies for row in for_lrs), strict=True)),
        ars_nets=tuple(augmentation_robust_score(*each) for each in zip(*(row.accuracies for row in for_ars), strict=True)),
        hlr=real_hard - set_hard,
        ior=set_own - random_own,
        stored_bytes=stored_bytes(small),
        random_bytes=stored_bytes(rival if own == "hard" else replace(rival, soft=kinds["soft"][1])),
        rows=(full, *rows.values()),
    )


def matched(labels: Tensor, dataset: Dataset, generator: torch.Generator) -> Tensor:
    """Positions `(M,)` in the training split: for each label another real image of its class, drawn without repetition."""
    found = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique().tolist():
        at, members = (labels == label).nonzero().flatten(), dataset.train.members(label)
        if len(members) < len(at):
            raise InputError(f"class {dataset.classes[label]} has {len(members)} training images: {len(at)} are to be drawn")
        found[at] = members[torch.randperm(len(members), generator=generator)[: len(at)]]
    return found


def taught(teacher: nn.Module, images: Tensor, device: str | torch.device = "cpu") -> Tensor:
    """Soft labels `(M, classes)` that a network gives to images, in evaluation mode; the mode is put back."""
    with evaluating(teacher):
        return predict(
            lambda x: teacher(x).softmax(1).cpu(), lambda part: images[part].to(device), len(images), CHUNK, device=device
        )
