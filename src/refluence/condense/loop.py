"""Algorithm 1 (IWD, arXiv 2510.27253) on any method's page; with uniform weights it is the method's own loop.

    for each image step t:
        theta_t from the method's networks                                                            lines 3-4
        for each class c:  a_c = Phi_syn(S_c; theta_t);  omega_c, D_c by `real_side.RealSide`         lines 5-9
        S <- one step of the image optimiser on sum_c D_c (or one a class)                            line 10

Everything random comes from (purpose, step), so a run that is stopped and resumed repeats itself bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from refluence.compute import Compute
from refluence.condense.events import StepEvent, event_of
from refluence.condense.implicit import Implicit, total
from refluence.condense.method import Method, Settings
from refluence.condense.networks import Context, within
from refluence.condense.norms import freeze_norm_statistics
from refluence.condense.real_side import ClassBatch, Match, RealSide
from refluence.condense.sampling import Batches, nearest
from refluence.condense.statistics import Bound
from refluence.condense.synthetic import Synthetic, initial_images, laid
from refluence.data.allocation import counts_of
from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.influence.differentiable import plain_kernels
from refluence.influence.distillation import RunningInfluence
from refluence.influence.weighting import Weighting
from refluence.matching import augment
from refluence.models import ModelSpec
from refluence.randomness import seeded
from refluence.seeds import Rng


class Stateful(Protocol):
    """A part of a run that remembers something from step to step."""

    def state(self) -> dict[str, Tensor]:
        """All that it remembers."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue where `state` was taken."""


class Distillation:
    """A run of Algorithm 1. `steps()` yields; between two steps `state()` and `restore()` stop and resume it."""

    def __init__(
        self,
        method: Method,
        settings: Settings,
        weighting: Weighting,
        dataset: Dataset,
        spec: ModelSpec,
        rng: Rng,
        compute: Compute | None = None,
        weights: Tensor | None = None,
        counts: Sequence[int] | None = None,
    ):
        """`weights (N,)`: of the training instances, where the kind of weights is "scores".

        `counts`: images of each class (None: by the settings), where an arm has left some of the data out or relabelled them.
        """
        self.method, self.settings, self.dataset, self.rng = method, settings, dataset, rng
        self.compute = compute or Compute()
        self.device, self.distance = self.compute.device, method.distance(settings)
        method.check(settings)
        # a network serves no longer than a stage, so that every stage begins with a new one
        settings = self.settings = settings.with_(outer=min(settings.outer, settings.iterations // settings.stages))
        self.members = [dataset.train.members(c) for c in range(len(dataset.classes))]
        if counts is None:
            counts = counts_of(dataset, settings.ipc, settings.allocation)
        self.networks = method.networks(Context(settings, dataset, spec, rng, self.compute))
        with seeded(rng("start", 0), self.device):
            images, labels = start(self, counts)
        self.synthetic = Synthetic(images, labels, settings, dataset, method.unit_pixels, self.device)
        self.batches = Batches(dataset, self.members, settings)
        self.table = RunningInfluence(len(dataset.train))
        implicit = Implicit(dataset, settings, rng, self.device)
        self.real = RealSide(method, weighting, self.table, self.compute, settings, implicit, weights)
        mode = settings.augmentation_mode
        self.augmentation = augment.parse(settings.augmentation, mode) if settings.augmentation else None
        self.step = 0

    @property
    def net(self) -> nn.Module:
        """The network of the current image step."""
        return self.networks.net

    @property
    def images(self) -> Tensor:
        """The learned images, normalised `(M, C, H, W)`, as they are stored."""
        return self.synthetic.images

    @property
    def labels(self) -> Tensor:
        """Their classes `(M,)`."""
        return self.synthetic.labels

    def steps(self) -> Iterator[StepEvent]:
        """The image steps that are left, one at a time. Raises `RunError` on a loss that is not finite."""
        while self.step < self.settings.iterations:
            with seeded(self.rng("step", self.step), self.device), plain_kernels(self.net):
                event = self.image_step()
                self.networks.advance(self.step, self.synthetic)
            self.step += 1
            if self.step == self.settings.iterations:
                self.synthetic.clamp()
            yield event

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as tensors."""
        tensors = {f"{name}.{k}": v for name, part in self._parts().items() for k, v in part.state().items()}
        return {"step": torch.tensor(self.step), **tensors}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue where `state` was taken."""
        self.step = int(state["step"])
        for name, part in self._parts().items():
            part.restore(within(state, f"{name}."))

    def _parts(self) -> dict[str, Stateful]:
        return {"synthetic": self.synthetic, "networks": self.networks, "batches": self.batches, "table": self.table}

    def image_step(self) -> StepEvent:
        """Lines 3 to 10."""
        s, synthetic = self.settings, self.synthetic
        synthetic.begin(s.stage(self.step))
        if fresh := self.networks.ready(self.step, synthetic):
            synthetic.clamp()
        for net in {self.net, self.networks.final}:
            freeze_norm_statistics(net, self.dataset, self.members, self.rng("norm-batch", self.step), self.device)
        self.batches.refresh(self.net, self.step, fresh, self.rng("clusters", self.step), self.device)
        synthetic.zero()
        matches = []
        for match in self.real.match(self.net, self._class_batches(), self.step, self.rng("shuffle", self.step)):
            gradients = match.gradients()
            if not all(bool(g.isfinite().all()) for g in [match.distance, *gradients]):
                what = f"the matching loss or its gradient is not finite at iteration {self.step}"
                raise RunError(f"{what} (loss {float(match.distance)})")
            synthetic.add(match.batch.rows, gradients)
            if self.method.class_steps:
                synthetic.step()
                synthetic.zero()
            match.batch.a, match.batch.leaves = {}, []  # the graph is not needed any more
            matches.append(match)
        if not self.method.class_steps:
            synthetic.step()
        if s.lr_lr and self.networks.moved is not None:
            synthetic.rate_step(self._rate_derivative(matches, self.networks.moved))
        event = event_of(self.step, matches, compete=self.real.weighting.bag != "class")
        if s.plateau:
            synthetic.watch(event.loss + math.fsum(float(m.batch.extra.detach()) for m in matches if m.batch.extra is not None))
        return event

    def _rate_derivative(self, matches: list[Match], moved: dict[str, Tensor]) -> float:
        """dM_t/d log eta = <q_t, theta_t - theta_{t-1}>; see synthetic.py."""
        pairs = [(m.batch.bound.statistic, m.batch.shown, (m.batch.x, m.batch.y, m.omega)) for m in matches]
        q = total(self.net, pairs, self.distance)
        return float(sum((q[name] * step).sum() for name, step in moved.items()))

    def _class_batches(self) -> Iterator[ClassBatch]:
        """Class by class: a real batch, the class's synthetic images, one Siamese draw for both."""
        generator, draws = self.rng("real-batch", self.step), self.rng("siamese", self.step)
        more = self.rng("synthetic-batch", self.step), self.rng("frequencies", self.step)
        s = self.settings
        for c in range(len(self.members)):
            positions = self.batches.draw(c, generator)
            real = self.dataset.pixels(self.dataset.train, positions, self.device)
            draw = None
            if self.augmentation is not None:
                draw = self.augmentation.draw(draws, real.shape[2:])
                real = self.augmentation.apply(draw, real)
            bound = self.method.statistic.at(self.net, self.networks.plain, self.distance, s, more[1], self.compute)
            labels = torch.full((len(positions),), c, device=self.device)
            make = partial(self._class_batch, c, bound, draw, more[0].get_state(), (real, labels, positions))
            batch, subset = make()
            more[0].set_state(subset)
            yield replace(batch, again=partial(_first, make)) if self.method.class_steps else batch

    def _class_batch(
        self, c: int, bound: Bound, draw: augment.Draw | None, subset: Tensor, real: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[ClassBatch, Tensor]:
        """A class against its real (x, y, positions); the synthetic images are drawn from the random state `subset`."""
        generator = torch.Generator()
        generator.set_state(subset)
        rows, leaves = self.synthetic.leaves(c)
        x, y = self.synthetic.view(c, leaves, generator)
        if self.augmentation is not None and draw is not None:
            x = self.augmentation.apply(draw, x)
        a = bound.synthetic(x, y)
        seen, labels, positions = real
        batch = ClassBatch(
            rows=rows,
            leaves=leaves,
            bound=bound,
            a=a,
            extra=self._extra(a, x, y),
            shown=(x.detach(), y.detach()),
            x=seen,
            y=labels,
            positions=positions,
        )
        return batch, generator.get_state()

    def _extra(self, a: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor | None:
        """Calibration: `calibration` times the network's accuracy times the cross-entropy of S; SDC: `sdc` times |a|."""
        s, parts = self.settings, []
        if s.calibration and self.networks.accuracy:
            parts.append(s.calibration * self.networks.accuracy * cross_entropy(self.networks.final(x), y))
        if s.sdc:
            parts.append(s.sdc * torch.stack([t.square().sum() for t in a.values()]).sum().sqrt())
        return torch.stack(parts).sum() if parts else None


def _first(make: Callable[[], tuple[ClassBatch, Tensor]]) -> ClassBatch:
    return make()[0]


def start(work: Distillation, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where images start: noise, random real images, or the images nearest to k-means centres under the first network."""
    s, generator = work.settings, work.rng("initial-images", 0)
    images, labels = initial_images(work.dataset, work.members, counts, s.initial, generator, s.factor)
    if s.initial == "cluster":
        parts = []
        for members, count in zip(work.members, counts, strict=True):
            wanted = min(count * s.factor**2, len(members))
            order = nearest(work.dataset, work.net, members, s, wanted, generator, work.device)
            parts.append(laid(work.dataset, order, count, s.factor))
        images = torch.cat(parts)
    return images, labels
