"""A sampling as a work (work.py): a step is one batch of images, the state is all of them so far. The last step of a pool is
the selection, so that its seconds count.

Images stand in a row, image 0 of every class, then image 1 of every class, and so on; the plan cuts it into batches, each of
one stage where there are any (learnability.py). The noise of an image, and of ddpm's steps, is of its own stream, so who
shares a batch changes an image by rounding alone, and by the deviation: it sees the finished images of earlier batches and
the mates of its class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.data.distilled import DistilledSet
from refluence.errors import InputError, RunError
from refluence.files import Json
from refluence.generate.denoiser import Denoiser, digest
from refluence.generate.entropy import EntropyEnergy
from refluence.generate.facts import influence_facts, normalised, redundancy_facts, warn_where_still
from refluence.generate.influence import InfluenceEnergy
from refluence.generate.learnability import LearnabilityEnergy, Stages, begins, parts
from refluence.generate.memory import Memory
from refluence.generate.modes import modes_of
from refluence.generate.noise import guided_steps, steps_of
from refluence.generate.pool import sampled_counts, select
from refluence.generate.sampling import Energy, Samples, Steering, sample
from refluence.generate.settings import Settings
from refluence.generate.solvers import solver_of
from refluence.generate.surrogate import Surrogate
from refluence.seeds import Rng
from refluence.training.predict import evaluating
from refluence.work import Cost, Result

APART = 2**20  # between the streams of two classes
MODES = "modes."  # before the number of a class, in a state
GRAPH_PIXELS = 2**19  # of the images whose graph is kept at a time


@dataclass(frozen=True)
class Sampled:
    """What one batch says: how many images it has, and the means that `sampling.Samples` has."""

    step: int
    images: int
    energy: float | None = None
    deviation: float | None = None
    moved: float | None = None
    guide: float | None = None


class SamplingWork:
    """The images of one set on their way.

    Args:
        settings: how they are sampled.
        denoiser: it is left in the mode that it has.
        surrogate: of the influence; without one the card has none.
        dataset: its classes and normalisation; a pool is compared with its training images.
        counts: images of each class.
        rng: of the seed.
        compute: the machine's part.

    Raises:
        InputError: a range that no step falls in, a denoiser of images of another size.
    """

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "A smaller k, gamma or cfg may help, in a new run"

    def __init__(
        self,
        settings: Settings,
        denoiser: Denoiser,
        surrogate: Surrogate | None,
        dataset: Dataset,
        counts: tuple[int, ...],
        rng: Rng,
        compute: Compute,
    ):
        if tuple(denoiser.config.shape) != tuple(dataset.shape):
            ours, theirs = (" x ".join(map(str, shape)) for shape in (dataset.shape, denoiser.config.shape))
            raise InputError(f"the denoiser samples images of {theirs}, the data have {ours}")
        self.settings, self.denoiser, self.surrogate = settings, denoiser.to(compute.device), surrogate
        self.dataset, self.counts, self.rng, self.compute = dataset, counts, rng, compute
        guidance = settings.guidance
        self.guided: tuple[int, ...] = ()
        if guidance.steers:
            self.guided = guided_steps(guidance, steps_of(settings, len(denoiser.abar)), denoiser.abar)
        self.energy = None if surrogate is None else InfluenceEnergy(surrogate, compute.device, guidance.averaging)
        self.unsure = EntropyEnergy(surrogate, compute.device) if surrogate is not None and guidance.entropy else None
        made = counts if settings.pool is None else sampled_counts(counts, settings.pool.factor)
        self.places = [(i, c) for i in range(max(made)) for c in range(len(made)) if i < made[c]]
        self.z = torch.zeros(len(self.places), *denoiser.shape)
        self.labels = torch.tensor([c for _, c in self.places])
        self.memory = Memory(guidance.memory)
        self.modes: list[Tensor] | None = None  # of each class, once they are looked for
        self.begins = begins(self.places, guidance.stages if guidance.learnability else 1)  # of stages
        self.stages: Stages | None = None
        if guidance.learnability:
            assert surrogate is not None, "learnability has a reference"
            self.stages = Stages(surrogate, guidance, self.begins, self.labels, rng, compute.device)
        self.parts = parts(self.begins, len(self.places), settings.batch)
        self.step, self.batches = 0, len(self.parts)
        self.total = self.batches + (settings.pool is not None)
        self.moves: dict[str, list[float]] = {"influence": [], "deviation": []}  # of the batches since it began or went on
        self.kept: Tensor | None = None  # positions, once they are selected from a pool
        self._warm_up()

    @torch.no_grad()
    def _warm_up(self) -> None:
        """One image through the network, and the libraries loaded: the first arm that is timed pays for no other."""
        abar, z = self.denoiser.abar, self.z[:1].to(self.compute.device)
        solver_of(self.settings.solver, abar, steps_of(self.settings, len(abar)))
        with evaluating(self.denoiser.net):
            self.denoiser.predict(z, 0, self.labels[:1].to(z.device), self.settings.cfg)

    def steps(self) -> Iterator[Sampled]:
        """The steps that are left; `RunError` where numbers are no longer finite."""
        while self.step < self.total:
            yield self._batch(self.parts[self.step]) if self.step < self.batches else self._selection()

    def _batch(self, part: slice) -> Sampled:
        energy, settings = self._steered_by(part)
        found = self._sampled(part, energy, settings)
        if isinstance(energy, LearnabilityEnergy):
            for number in range(1, settings.guidance.candidates):
                other, y = self._sampled(part, energy, settings, f"-{number}"), self.labels[part].to(self.compute.device)
                found = replace(found, z=energy.better(found.z, other.z, y, self.look))
        if not bool(found.z.isfinite().all()):
            bad = [c for z, (_, c) in zip(found.z, self.places[part], strict=True) if not bool(z.isfinite().all())]
            raise RunError(f"an image of class '{self.dataset.classes[bad[0]]}' is not finite")
        self.z[part] = found.z.float().cpu()
        self._finished(part)
        for what, moved in (("influence", found.moved), ("deviation", found.away)):
            self.moves[what] += [] if moved is None else [moved]
        self.step += 1
        return Sampled(self.step - 1, len(found.z), found.energy, found.deviation, found.moved, found.guide)

    def _sampled(self, part: slice, energy: Energy | None, settings: Settings, stream: str = "") -> Samples:
        """The images of a batch; `stream` tells those of other noise apart."""
        device, keys = self.compute.device, [c * APART + i for i, c in self.places[part]]
        noise = torch.stack([torch.randn(self.denoiser.shape, generator=self.rng(f"noise{stream}", key)) for key in keys])
        draws = [self.rng(f"solver{stream}", key) for key in keys] if settings.solver == "ddpm" else []
        with evaluating(self.denoiser.net):
            finished, labels = self.memory.among(noise, self.labels[part])
            at_once, modes = max(1, GRAPH_PIXELS // self.dataset.area), self._modes(part)
            steering = Steering(energy, self.look, finished.to(device), labels.to(device), at_once, modes)
            start, y = self._start(noise.to(device), modes), self.labels[part].to(device)
            return sample(self.denoiser, start, y, settings, steering, draws, self.compute)

    def _steered_by(self, part: slice) -> tuple[Energy | None, Settings]:
        """What guides a batch, and its settings."""
        if self.stages is None:
            return self.unsure if self.settings.guidance.entropy else self.energy, self.settings
        assert self.energy is not None, "the first stage is guided by influence"
        return self.stages.steered_by(part, self.energy, self.settings, self.pixels)

    def ahead(self) -> list[Cost]:
        """What stages of learnability take beside batches as the first stage has them, where none was sampled yet."""
        if self.stages is None or self.stages.current is not None:
            return []
        first, stages = self.parts[0], self.stages
        energy, settings = self._steered_by(first)

        def networks(count: int) -> None:
            for _ in range(count):
                stages.energy_after(first.stop, self.pixels)

        def candidates(count: int) -> None:
            for _ in range(count):
                self._sampled(first, energy, settings)

        more = (settings.guidance.candidates - 1) * sum(part.start >= self.begins[1] for part in self.parts)
        costs = [Cost("networks of the stages", len(self.begins) - 1, networks)]
        return costs + ([Cost("candidates", more, candidates)] if more else [])

    def _modes(self, part: slice) -> Tensor | None:
        """The mode of each image of a batch, where the settings go by modes."""
        if not self.settings.guidance.modes and self.settings.strength is None:
            return None
        if self.modes is None:
            made = tuple(int((self.labels == c).sum()) for c in range(len(self.counts)))
            self.modes = modes_of(self.denoiser, self.dataset, made, self.rng, self.compute.device)
        own = [self.modes[c][i % len(self.modes[c])] for i, c in self.places[part]]
        return torch.stack(own).to(self.compute.device)

    def _start(self, noise: Tensor, modes: Tensor | None) -> Tensor:
        """Where a batch begins: at its noise, or at modes with as much of it as the first step has."""
        if self.settings.strength is None or modes is None:
            return noise
        abar = float(self.denoiser.abar[steps_of(self.settings, len(self.denoiser.abar))[0]])
        return abar**0.5 * modes + (1 - abar) ** 0.5 * noise

    def _selection(self) -> Sampled:
        assert self.settings.pool is not None, "of a pool"
        assert self.surrogate is not None, "a pool is selected from by a surrogate"
        assert self.energy is not None
        images = normalised(self.pixels(), self.surrogate.mean, self.surrogate.std)
        real = self.dataset.normalised_as(self.surrogate.mean, self.surrogate.std)
        self.kept = select(self.settings.pool.by, images, self.labels, self.counts, self.energy, real, self.rng)
        self.step += 1
        return Sampled(self.step - 1, len(self.kept))

    def _finished(self, part: slice) -> None:
        if self.settings.guidance.deviation:
            self.memory.add(self.z[part], self.labels[part])

    def look(self, z: Tensor) -> Tensor:
        """Images `(B, C, H, W)`, normalised as the surrogate's were; not clamped, and gradients go through."""
        seen = self.dataset if self.surrogate is None else self.surrogate
        mean, std = (torch.tensor(numbers, device=z.device, dtype=z.dtype).view(-1, 1, 1) for numbers in (seen.mean, seen.std))
        return (self.denoiser.decode(z) - mean) / std

    def state(self) -> dict[str, Tensor]:
        """The images so far, and which of a pool are kept."""
        done = self.parts[min(self.step, self.batches) - 1].stop if self.step else 0
        selected = {} if self.kept is None else {"kept": self.kept}
        modes = {f"{MODES}{c}": found for c, found in enumerate(self.modes or ())}
        return {"step": torch.tensor(self.step), "z": self.z[:done].clone(), **selected, **modes}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the step at which `state` was taken."""
        self.step, self.memory = int(state["step"]), Memory(self.settings.guidance.memory)
        self.z[: len(state["z"])], self.kept = state["z"], state.get("kept")
        if f"{MODES}0" in state:
            self.modes = [state[f"{MODES}{c}"] for c in range(len(self.counts))]
        for number in range(min(self.step, self.batches)):
            self._finished(self.parts[number])

    def pixels(self) -> Tensor:
        """The images `(N, C, H, W)` from 0 to 1, in the order of sampling, decoded in their batches; grey where none is yet."""
        found = torch.full((len(self.z), *self.dataset.shape), 0.5)
        for part in self.parts[: min(self.step, self.batches)]:
            with torch.no_grad():
                found[part] = self.denoiser.decode(self.z[part].to(self.compute.device)).cpu().float().clamp(0, 1)
        return found

    def artifact(self) -> DistilledSet:
        """The images that are kept, or the first of each class, as they stand now."""
        return self._set(self.order(), self.pixels())

    def order(self) -> Tensor:
        """Positions of the images of the set, class after class."""
        if self.kept is not None:
            return self.kept
        return torch.cat([(self.labels == c).nonzero().flatten()[:count] for c, count in enumerate(self.counts)])

    def _set(self, order: Tensor, pixels: Tensor) -> DistilledSet:
        data = self.dataset
        images = normalised(pixels[order], data.mean, data.std)
        return DistilledSet(images, self.labels[order], data.classes, data.mean, data.std)

    def result(self) -> Result:
        """The set, and what its card says of how it was made."""
        warn_where_still(self.moves)
        pixels, order, facts = self.pixels(), self.order(), self.denoiser.card
        made, influence = self._set(order, pixels), None
        if self.surrogate is not None and self.energy is not None:
            images = normalised(pixels[order], self.surrogate.mean, self.surrogate.std)
            influence = influence_facts(self.energy, images, made.labels, self.dataset.classes, self.compute.device)
        card: Json = {
            "iterations": 0,
            "ess": None,
            "denoiser": {
                "method": self.denoiser.method,
                "parameters": self.denoiser.parameters,
                "sha256": digest(self.denoiser),
                **{name: facts[name] for name in ("seconds", "cpu_seconds", "licence") if name in facts},
            },
            "cfg": self.settings.cfg,
            "solver": self.settings.solver,
            "steps": self.settings.steps,
            **({} if self.settings.strength is None else {"strength": self.settings.strength}),
            "guided_steps": [number + 1 for number in self.guided],
            **({} if self.stages is None else {"stages": len(self.begins)}),
            "sampled": len(self.places) + (0 if self.stages is None else self.stages.further()),
            "influence": influence,
            **redundancy_facts(pixels[order], made.labels, self.dataset.classes),
        }
        return Result(made, card)
