"""Algorithm 1 (IWD, arXiv 2510.27253) on gradient matching with S_inner = S; with uniform weights it is DC's own loop.

    for each initialisation theta_0, for t = 0 … outer - 1 (one *image step* each):
        for each class c:  a_c = Phi_syn(S_c; theta_t);  omega_c, D_c by `instances.RealSide`         lines 2, 5-9
        S <- SGD step on sum_c D_c                                                                   line 10
        theta_{t+1} <- `inner` epochs of SGD on S                                                    line 4

Everything random comes from (purpose, step), so a run that is stopped and resumed repeats itself bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from refluence.condense.base import Method, Settings
from refluence.condense.compute import Compute
from refluence.condense.instances import ClassBatch, RealSide
from refluence.condense.synthetic import initial_images
from refluence.data.allocation import allocate
from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.influence.distillation import RunningInfluence
from refluence.influence.links import effective_sample_size
from refluence.influence.weighting import Weighting
from refluence.matching import augment
from refluence.matching.statistics import synthetic_gradient
from refluence.models import ModelSpec, build

NORM_BATCH = 16  # real images per class
Rng = Callable[[str, int], torch.Generator]


@dataclass(frozen=True)
class Step:
    """What one image step tells: its number, the matching loss, per class too, and the effective sample size (a share)."""

    step: int
    loss: float
    loss_by_class: tuple[float, ...]
    ess: float


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
    ):
        self.method, self.settings, self.dataset, self.rng, self.spec = method, settings, dataset, rng, spec
        self.compute = compute or Compute()
        self.device = self.compute.device
        self.members = [dataset.train.members(c) for c in range(len(dataset.classes))]
        counts = allocate([len(m) for m in self.members], settings.ipc, settings.allocation)
        self.images, self.labels = initial_images(dataset, self.members, counts, settings.initial, rng("initial-images", 0))
        self.images, self.labels = self.images.to(self.device), self.labels.to(self.device)
        self.velocity = torch.zeros_like(self.images)
        self.table = RunningInfluence(len(dataset.train))
        self.real = RealSide(method, weighting, self.table, self.compute)
        self.augmentation = augment.parse(settings.augmentation) if settings.augmentation else None
        self.net = build(spec, rng("network", 0), self.device)
        self.plain = self.compute.compiled(self.net)
        self.step = 0

    def steps(self) -> Iterator[Step]:
        """The image steps that are left, one at a time. Raises `RunError` on a loss that is not finite."""
        s = self.settings
        while self.step < s.iterations:
            initialisation, t = divmod(self.step, s.outer)
            if t == 0:  # into the same modules, which may be compiled
                self.net.load_state_dict(build(self.spec, self.rng("network", initialisation), self.device).state_dict())
            event = self.image_step()
            last_of_net = t == s.outer - 1 or self.step == s.iterations - 1
            if not last_of_net:
                self.train_network()
            self.step += 1
            yield event

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as tensors."""
        return {
            "step": torch.tensor(self.step),
            "images": self.images,
            "velocity": self.velocity,
            **{f"net.{k}": v for k, v in self.net.state_dict().items()},
            **{f"table.{k}": v for k, v in self.table.state().items()},
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue where `state` was taken."""
        self.step = int(state["step"])
        self.images, self.velocity = state["images"].to(self.device), state["velocity"].to(self.device)
        self.net.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("net.")})
        self.table.restore({k[6:]: v for k, v in state.items() if k.startswith("table.")})

    def train_network(self) -> None:
        """Line 4 for the run's own network."""
        generator = self.rng("inner", self.step)
        with self.compute.autocast():
            train_on_synthetic(self.plain, self.images, self.labels, self.settings, generator, self.augmentation)

    def image_step(self) -> Step:
        """Lines 5 to 10: one SGD step (momentum) on all images from the sum of the classes' discrepancies."""
        freeze_norm_statistics(self.net, self.dataset, self.members, self.rng("norm-batch", self.step), self.device)
        gradient, losses, shares = torch.empty_like(self.images), [], []
        matches = self.real.match(self.net, self._class_batches(), self.step, self.rng("shuffle", self.step), self.plain)
        for c, match in enumerate(matches):
            gradient[self.labels == c] = match.image_gradient()
            losses.append(float(match.distance))
            shares.append(1.0 if match.omega is None else float(effective_sample_size(match.omega)))
        loss = sum(losses)
        if not (math.isfinite(loss) and bool(gradient.isfinite().all())):
            raise RunError(f"the matching loss or its gradient is not finite at iteration {self.step} (loss {loss})")
        self.velocity = self.settings.image_momentum * self.velocity + gradient
        self.images = self.images - self.settings.image_lr * self.velocity
        return Step(self.step, loss, tuple(losses), sum(shares) / len(shares))

    def _class_batches(self) -> Iterator[ClassBatch]:
        """Class by class: a fresh real batch, the class's synthetic images, one Siamese draw for both."""
        names = [n for n, p in self.net.named_parameters() if self.method.discrepancy.uses(p)]
        generator, draws = self.rng("real-batch", self.step), self.rng("siamese", self.step)
        for c, members in enumerate(self.members):
            chosen = members[torch.randperm(len(members), generator=generator)[: self.settings.real_batch]]
            real = self.dataset.pixels(self.dataset.train, chosen, self.device)
            of_class = self.labels == c
            images = self.images[of_class].detach().requires_grad_()
            synthetic: Tensor = images
            if self.augmentation is not None:
                draw = self.augmentation.draw(draws, tuple(real.shape[2:]))
                real, synthetic = (self.augmentation.apply(draw, side) for side in (real, synthetic))
            a = synthetic_gradient(self.net, synthetic, self.labels[of_class], names)
            yield ClassBatch(images, a, real, torch.full((len(chosen),), c, device=self.device), chosen)


def freeze_norm_statistics(
    net: nn.Module, dataset: Dataset, members: Sequence[Tensor], generator: torch.Generator, device: torch.device | str
) -> None:
    """Batch norm: 16 real images per class in training mode, then frozen statistics (DC's code). Other norms: nothing."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        return
    chosen = torch.cat([m[torch.randperm(len(m), generator=generator)[:NORM_BATCH]] for m in members])
    net.train()
    with torch.no_grad():
        net(dataset.pixels(dataset.train, chosen, device))
    for norm in norms:
        norm.eval()


def train_on_synthetic(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: Settings,
    generator: torch.Generator,
    augmentation: augment.Augmentation | None = None,
) -> None:
    """Line 4: `inner` epochs of SGD without momentum on S, in place."""
    net.train()
    parameters = list(net.parameters())
    for _ in range(settings.inner):
        order = torch.randperm(len(images), generator=generator).to(images.device)
        for part in order.split(settings.net_batch):
            x = images[part]
            if augmentation is not None:
                x = augmentation.apply(augmentation.draw(generator, tuple(x.shape[2:]), len(x)), x)
            gradients = torch.autograd.grad(cross_entropy(net(x), labels[part]), parameters)
            with torch.no_grad():
                torch._foreach_add_(parameters, gradients, alpha=-settings.net_lr)
