"""A set measured beside real images (evaluate/quality.py), written to quality.json of its run.

The network whose features are compared, the features of the real images and the surrogate of the influence are needs
(needs.py): all arms and seeds of a comparison are measured by the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.data import Dataset, DistilledSet
from refluence.data.distilled import decoded, load_distilled, to_uint8
from refluence.data.whitening import whitening
from refluence.errors import RunError
from refluence.evaluate.coverage import held
from refluence.evaluate.measure import CHUNK_PIXELS
from refluence.evaluate.protocol import Protocol
from refluence.evaluate.quality import Features, Quality, quality
from refluence.evaluate.redundancy import parts, redundancy
from refluence.files import Json, read_json, write_json
from refluence.generate.influence import InfluenceEnergy
from refluence.generate.surrogate import Surrogate
from refluence.jobs.denoisers import SurrogateNeed
from refluence.jobs.job import Job
from refluence.jobs.measuring import Measuring, loaded, measuring
from refluence.jobs.needs import obtain
from refluence.jobs.session import Session
from refluence.jobs.source_network import need_of, shared_by, source_network
from refluence.matching.features import embedding
from refluence.models import ModelSpec
from refluence.options import JobOptions
from refluence.seeds import Rng, streams
from refluence.training.predict import predict

FILE = "quality.json"
NUMBERS = ("influence", "frechet", "coverage", "wasserstein", "redundancy")
"""What a row has of it."""
SEED = 0  # of the real images and of the points of the plane: the same for all sets


def numbers(found: Json) -> Json:
    """What a row has of what was measured."""
    return {name: found[name] for name in NUMBERS}


def of_run(folder: Path) -> Json:
    """The same of a run; nothing where it was not measured."""
    return numbers(read_json(folder / FILE)) if (folder / FILE).exists() else {}


@dataclass(frozen=True)
class RealNeed:
    """The features of the real images, by `net`: the same for every set."""

    how: Measuring
    net: nn.Module = field(compare=False, repr=False)

    name: ClassVar[str] = "features"

    @property
    def facts(self) -> Json:
        """Everything that decides them beside data and machine."""
        stored = self.how.to_json()
        return {key: stored[key] for key in ("network", "weights", "size", "real")} | {"seed": SEED}

    def make(self, session: Session, folder: Path | None) -> dict[str, Tensor]:
        """`features (n, F)`, in the order of `sample`."""
        dataset = session.dataset
        drawn = sample(dataset, self.how.real)
        found = features_of(self.net, lambda part: dataset.pixels(dataset.train, drawn[part]), len(drawn), dataset, session)
        return {"features": found}


def measure_run(job: Job, session: Session, folder: Path, shared: Path | None = None) -> None:
    """Measure the job's set, where that is asked for and not done, and write quality.json."""
    if job.quality is None or (folder / FILE).exists():
        return
    small = load_distilled(folder / "distilled")
    write_json(folder / FILE, measured(job, small, session, shared or shared_by(folder)))


def measure_again(
    job: Job,
    small: DistilledSet,
    session: Session,
    folder: Path,
    feature_network: str | None,
    coverage_threshold: float | None = None,
) -> Json:
    """Measure the set of a finished run, whether or not that was asked for when it was made, and write quality.json.

    Raises:
        InputError: a network that cannot give features.
    """
    size = "cpu" if job.protocols[0].short else "paper"
    if job.quality is None or feature_network is not None:
        asked = JobOptions(size=size, quality=True, feature_network=feature_network)
        job = replace(job, quality=measuring(asked, session.dataset))
    if job.quality is not None and coverage_threshold is not None:
        job = replace(job, quality=replace(job.quality, threshold=coverage_threshold))
    found = measured(job, small, session, shared_by(folder))
    write_json(folder / FILE, found)
    return found


def measured(job: Job, small: DistilledSet, session: Session, shared: Path | None = None) -> Json:
    """What is measured of a set, and how, as plain values."""
    assert job.quality is not None, "it is asked for"
    protocol, what = job.protocols[0], f"{job.what}: quality"
    found = measure(job.quality, small, job.model, protocol, streams(job.seed), session, shared, what)
    how = {"network": job.quality.network.name, "judge": job.model.name, "protocol": protocol.name}
    return {**found.to_json(), **how, "measuring": job.quality.to_json()}


def measure(
    how: Measuring,
    small: DistilledSet,
    model: ModelSpec,
    protocol: Protocol,
    rng: Rng,
    session: Session,
    shared: Path | None,
    what: str,
) -> Quality:
    """The quality of a set. `model`, `protocol` and `rng` train the networks of its redundancy."""
    dataset, whole = session.dataset, decoded(small)
    drawn = sample(dataset, how.real)
    net = feature_network(how, session, shared)
    images = renormalised(whole, dataset)
    real = obtain(RealNeed(how, net), session, shared).tensors["features"]
    features = Features(
        features_of(net, lambda part: images[part], len(images), dataset, session),
        whole.labels,
        real,
        dataset.train.labels[drawn],
        held(dataset.train.pictures(drawn), to_uint8(whole)),
    )
    classes = len(dataset.classes)
    energies = influence(how, images, whole.labels, session, shared)
    matrix = _matrix(small, model, protocol, rng, session, what)
    return quality(features, energies, matrix, classes=classes, seed=SEED, threshold=how.threshold)


def sample(dataset: Dataset, most: int) -> Tensor:
    """Positions in the training split of the real images that sets are compared with, in order."""
    count, generator = len(dataset.train), streams(SEED)("quality-real", 0)
    return torch.randperm(count, generator=generator)[:most].sort().values


def feature_network(how: Measuring, session: Session, shared: Path | None) -> nn.Module:
    """The network whose features are compared, for images that are normalised as the source is."""
    dataset = session.dataset
    if how.weights:
        net: nn.Module = loaded(how.weights, how.network.name, dataset.shape, dataset.classes).beside(dataset.mean, dataset.std)
    else:
        net = source_network(need_of(how.network, dataset, how.size), session, shared)
    return net.to(session.compute.device).eval()


def features_of(net: nn.Module, fetch: Callable[[slice], Tensor], count: int, dataset: Dataset, session: Session) -> Tensor:
    """Features `(count, F)` on the CPU."""
    device, chunk = session.compute.device, max(1, CHUNK_PIXELS // dataset.area)
    return predict(
        lambda x: embedding(net, x)["features"].float().cpu(), lambda at: fetch(at).to(device), count, chunk, device=device
    )


def renormalised(small: DistilledSet, dataset: Dataset) -> Tensor:
    """The images of a set, normalised as the source is."""
    if (small.mean, small.std) == (dataset.mean, dataset.std):
        return small.images
    theirs = [torch.tensor(value).view(-1, 1, 1) for value in (small.mean, small.std, dataset.mean, dataset.std)]
    return (small.images * theirs[1] + theirs[0] - theirs[2]) / theirs[3]


def surrogate_of(how: Measuring) -> SurrogateNeed:
    """The surrogate at whose checkpoints influence is measured, which guides no sampling: its seed is another."""
    return SurrogateNeed(how.guide, seed=how.seed)


def influence(how: Measuring, images: Tensor, labels: Tensor, session: Session, shared: Path | None) -> Tensor:
    """The influence energy `(M,)` of images that are normalised as the source is (IGD eq. 7)."""
    found = obtain(surrogate_of(how), session, shared)
    device = session.compute.device
    energy = InfluenceEnergy(Surrogate.from_state(how.guide.model, found.tensors), device)
    return energy.energy(images.to(device), labels.to(device)).cpu()


def _matrix(small: DistilledSet, model: ModelSpec, protocol: Protocol, rng: Rng, session: Session, what: str) -> Tensor | None:
    """The redundancy matrix; None for one image of a class, or where a part cannot be trained on."""
    count = len(parts(decoded(small).labels))
    if count < 2:
        return None
    compute = session.compute
    whitened = whitening(protocol.zca, session.dataset.normalised_as(small.mean, small.std))
    with session.reporter.bar(what, count) as advance:
        try:
            return redundancy(
                small, model, protocol, rng, compute.device, compiled=compute.compiled, whitened=whitened, progress=advance
            )
        except RunError as error:
            session.reporter.say(f"{what}: no redundancy, {error}")
            return None
