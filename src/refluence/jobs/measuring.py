"""How sets are measured beside real images, with every default resolved: by which network, which surrogate, how many images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from refluence.data import Dataset
from refluence.errors import InputError, called, option, stated
from refluence.evaluate import wasserstein
from refluence.files import Json
from refluence.generate.beforehand import SEED as GUIDES
from refluence.generate.beforehand import Guide, guide_of
from refluence.generate.surrogate import SurrogateSettings
from refluence.models import ModelSpec, is_library, network, read_spec
from refluence.models.pretrained import PRETRAINED, LoadedTeacher, load_teacher
from refluence.options import WIDTHS, JobOptions, SamplingOptions, SetOptions
from refluence.transfer.halves import halves

NETWORK = "resnet10"
REAL = {"cpu": 2_000, "paper": 10_000}
"""Real images of the training split, drawn at random, that sets are compared with; all where there are fewer."""
SIDES = {"torchvision:inception_v3": 299}  # to which images are resized for it; others see them as they are


SEED = 1
"""Of the surrogate that measures: another than that of the surrogates that guide, so that none is judged by itself."""


@dataclass(frozen=True)
class Measuring:
    """Everything that decides the numbers beside set and data.

    `network` gives the features: trained on the source, at `size`, or with the weights `weights` of its library (as
    `--load-teacher` says them). `guide` is the surrogate at whose checkpoints influence is measured, trained with `seed`;
    `real` how many real images are looked at. One of them is covered within `threshold` (None: by their spacing).
    """

    network: ModelSpec
    weights: str
    size: str
    guide: Guide
    real: int
    seed: int = SEED
    threshold: float | None = None

    def shortened(self, real: int) -> Measuring:
        """The same by a surrogate of one epoch, and at most `real` images of a class in its mean gradient."""
        return replace(self, guide=self.guide.shortened(real))

    def to_json(self) -> Json:
        """Plain values."""
        guide = {"model": self.guide.model.to_json(), "settings": self.guide.settings.to_json()}
        own = {"weights": self.weights, "size": self.size, "real": self.real, "seed": self.seed, "threshold": self.threshold}
        return {"network": self.network.to_json(), "guide": guide, **own}

    @classmethod
    def from_json(cls, stored: Json) -> Measuring:
        """The inverse of `to_json`."""
        own = stored["guide"]
        guide = Guide(read_spec(own["model"]), SurrogateSettings(**own["settings"]))
        found = cls(read_spec(stored["network"]), stored["weights"], stored["size"], guide, stored["real"])
        return replace(found, seed=stored.get("seed", GUIDES), threshold=stored.get("threshold"))  # not in earlier folders


def spec_of(name: str, dataset: Dataset, size: str) -> ModelSpec:
    """The network of this name for the source, as wide as networks are at this size."""
    return network(name, dataset.shape, len(dataset.classes), convnet=WIDTHS[size])


def check_trains(dataset: Dataset, what: str) -> None:
    """`InputError` for data that no network can be trained on first as a teacher is. `what` asks for one."""
    try:
        halves(dataset.val)
    except InputError as error:
        raise InputError(f"{what} trains a network on the source first, and {error}") from None


def measuring(asked: JobOptions, dataset: Dataset) -> Measuring | None:
    """How it is asked for; None where it is not.

    Raises:
        InputError: POT is not installed, a network that is none or has no features, weights that are not there.
    """
    if not asked.quality:
        for name in ("feature_network", "coverage_threshold"):
            if (value := getattr(asked, name)) is not None:
                raise InputError(f"{stated(name, value)}: it is for the quality of a set: add quality")
        return None
    wasserstein.require()
    name = NETWORK if asked.feature_network is None else asked.feature_network
    with called(model="feature_network", load_teacher="feature_network"):
        spec, weights = _network(name, dataset, asked.size)
    if not spec.width:
        raise InputError(f"{stated('feature_network', name)}: it has no last linear layer, and so no features")
    if not weights:
        check_trains(dataset, option("quality"))
    guide = guide_of(asked if isinstance(asked, SetOptions) else SamplingOptions(), dataset, asked.size)
    return Measuring(spec, weights, asked.size, guide, REAL[asked.size], threshold=asked.coverage_threshold)


def _network(name: str, dataset: Dataset, size: str) -> tuple[ModelSpec, str]:
    """The network and its weights: `pretrained:NAME`, or any name for one that is trained on the source."""
    first, colon, own = name.partition(":")
    if first != PRETRAINED:
        return spec_of(name, dataset, size), ""
    if not (colon and is_library(own)):
        raise InputError(f"{stated('feature_network', name)}: it must be pretrained:torchvision:NAME or pretrained:timm:NAME")
    weights = f"{PRETRAINED}:{SIDES[own]}" if own in SIDES else PRETRAINED
    return loaded(weights, own, dataset.shape, dataset.classes).spec, weights


@lru_cache(maxsize=1)  # every arm and seed asks for the same
def loaded(weights: str, name: str, shape: tuple[int, int, int], classes: tuple[str, ...]) -> LoadedTeacher:
    """A library's network with its own weights."""
    return load_teacher(weights, name, shape, classes)
