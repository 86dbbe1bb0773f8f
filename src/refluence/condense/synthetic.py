"""What is learned: pixels, and where a run asks for them soft labels and a learning rate (Algorithm 1, line 10).

    x = decode((u - mean) / std, factor)     u in [0, 1] (`unit_pixels`), or x = decode(u, factor) with u normalised
    y = softmax(z)                           soft labels, z learned; else the class
    eta = exp(l)                             the rate at which networks train on S, l learned:
    l <- l - lr_lr <q_t, theta_t - theta_{t-1}>          q_t = dM_t/dtheta_t

Images of an earlier stage (progressive distillation) stay as they are and take part. The rate is Algorithm 1's eta~; the
published methods of gradient and distribution matching have none. Ours: its derivative goes through the last inner training
alone, d theta_t/dl = theta_t - theta_{t-1}, exact for one inner step and without curvature for more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from refluence.condense.settings import Settings
from refluence.data.dataset import Dataset
from refluence.data.formation import decode, repeat, tile
from refluence.errors import InputError, RunError
from refluence.training.optimisers import optimiser_state, restore_optimiser

NOTHING_YET = 1e300  # above every loss, and finite, as a checkpoint must be
FARTHEST = 30.0  # of the logarithm of a learned rate from 0
CERTAIN = 10.0  # the logit of an image's own class where soft labels start


def initial_images(
    dataset: Dataset, members: Sequence[Tensor], counts: Sequence[int], how: str, generator: torch.Generator, factor: int = 1
) -> tuple[Tensor, Tensor]:
    """Images `(M, C, H, W)` in normalised units and labels `(M,)`, class by class: Gaussian noise or random real images.

    `factor`: each image holds factor^2 reduced real ones. Where a class has too few, images are used again.
    """
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    if how == "noise":
        return torch.randn((len(labels), *dataset.shape), generator=generator), labels
    images = []
    for m, n in zip(members, counts, strict=True):
        order = m[torch.randperm(len(m), generator=generator)]
        images.append(laid(dataset, order, n, factor))
    return torch.cat(images), labels


def laid(dataset: Dataset, order: Tensor, count: int, factor: int) -> Tensor:
    """The first `count factor^2` positions of `order` (from its start again where it ends) as `(count, C, H, W)` images."""
    wanted = count * factor**2
    chosen = order.repeat(-(-wanted // len(order)))[:wanted]
    return tile(dataset.pixels(dataset.train, chosen), factor)


class Synthetic:
    """The learned set and its optimiser. `pixels (M, C, H, W)`, `labels (M,)`, `stage (M,)`, `logits (M, K)` or None."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        settings: Settings,
        dataset: Dataset,
        unit_pixels: bool = False,
        device: torch.device | str = "cpu",
    ):
        self.settings, self.unit, self.factor = settings, unit_pixels, settings.factor
        self.mean, self.std = (images.new_tensor(v).view(-1, 1, 1).to(device) for v in (dataset.mean, dataset.std))
        self.labels = labels.to(device)
        self.stage = stages_of(labels, settings.stages).to(device)
        pixels = images.to(device)
        if unit_pixels:  # noise starts around mid grey, as IDC's does: clamp(z/4 + 1/2)
            grey = pixels / 4 + 0.5 if settings.initial == "noise" else pixels * self.std + self.mean
            pixels = grey.clamp(0, 1)
        self.pixels = pixels.clone().requires_grad_()
        self.logits: Tensor | None = None
        if settings.label_lr:
            self.logits = (CERTAIN * one_hot(self.labels, len(dataset.classes)).to(pixels)).requires_grad_()
        self.log_rate = math.log(settings.net_lr)
        self.optimiser = self._optimiser()
        self.now = 0  # the stage that is learned
        self.lowest, self.waited, self.halved = NOTHING_YET, 0, 0  # for `plateau`

    @property
    def learned(self) -> list[Tensor]:
        """The leaves that a step moves."""
        return [t for t in (self.pixels, self.logits) if t is not None]

    @property
    def images(self) -> Tensor:
        """What is stored: normalised `(M, C, H, W)`, detached."""
        return self._normalised(self.pixels.detach())

    @property
    def soft(self) -> Tensor | None:
        """Soft labels `(M, K)`, detached, where they are learned."""
        return None if self.logits is None else self.logits.detach().softmax(1)

    @property
    def rate(self) -> float:
        """The learning rate of networks on S."""
        return math.exp(self.log_rate) if self.settings.lr_lr else self.settings.net_lr

    def rate_step(self, derivative: float) -> None:
        """One step of SGD on the logarithm of the rate, given dM/dl."""
        self.log_rate -= self.settings.lr_lr * derivative
        if not abs(self.log_rate) < FARTHEST:
            raise RunError(f"the learned learning rate left all bounds (logarithm {self.log_rate:g}): try a smaller lr_lr")

    def begin(self, stage: int) -> None:
        """Learn the images of `stage`, with a new optimiser, beside the earlier ones."""
        if stage != self.now:
            self.now, self.optimiser = stage, self._optimiser()
            self.lowest, self.waited, self.halved = NOTHING_YET, 0, 0

    def present(self, stage: int | None = None) -> Tensor:
        """Which images `(M,)` take part up to a stage (default: the one that is learned)."""
        return self.stage <= (self.now if stage is None else stage)

    def leaves(self, label: int) -> tuple[Tensor, list[Tensor]]:
        """Rows of a class that take part, and fresh leaves of what is learned of them: pixels, then logits."""
        rows = ((self.labels == label) & self.present()).nonzero().flatten()
        return rows, [t.detach()[rows].requires_grad_() for t in self.learned]

    def view(self, label: int, leaves: list[Tensor], generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Decoded images `(m, C, H, W)` and labels `(m,)` or `(m, K)` of a class's leaves, with their graph.

        Where there are more than `synthetic_batch` decoded images, that number of them is drawn from `generator`.
        """
        x = decode(self._normalised(leaves[0]), self.factor)
        y = torch.full((len(leaves[0]),), label, device=x.device) if len(leaves) == 1 else leaves[1].softmax(1)
        y, most = repeat(y, self.factor), self.settings.synthetic_batch
        if most and len(x) > most and generator is not None:
            chosen = torch.randperm(len(x), generator=generator)[:most].to(x.device)
            x, y = x[chosen], y[chosen]
        return x, y

    def training_set(self, stage: int | None = None) -> tuple[Tensor, Tensor]:
        """Decoded images and labels that a network trains on, up to a stage (default: the one that is learned)."""
        here = self.present(stage)
        labels = self.labels if self.logits is None else self.logits.detach().softmax(1)
        return decode(self.images[here], self.factor), repeat(labels[here], self.factor)

    def zero(self) -> None:
        """No gradient anywhere: what is not added to stays zero, so that only momentum moves it."""
        for leaf in self.learned:
            leaf.grad = torch.zeros_like(leaf)

    def add(self, rows: Tensor, gradients: list[Tensor]) -> None:
        """Gradients of `rows`; those of images of an earlier stage are left out."""
        mine = (self.stage[rows] == self.now).nonzero().flatten()
        for leaf, gradient in zip(self.learned, gradients, strict=True):
            assert leaf.grad is not None, "zero() comes first"
            leaf.grad[rows[mine]] = gradient[mine].to(leaf)

    def step(self) -> None:
        """One step of the image optimiser."""
        kept = (self.stage != self.now).nonzero().flatten()
        before = [leaf.detach()[kept].clone() for leaf in self.learned] if len(kept) else []
        self.optimiser.step()
        with torch.no_grad():
            for leaf, values in zip(self.learned, before, strict=False):
                leaf[kept] = values  # weight decay and old momentum move nothing outside the stage

    def watch(self, loss: float) -> None:
        """Halve the learning rate when the loss was not lower (by 1e-4 of it) for more than `plateau` steps (above 0)."""
        if loss < self.lowest * (1 - 1e-4):
            self.lowest, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.settings.plateau:
            self.halved, self.waited = self.halved + 1, 0
            self._rate(0.5)

    def _rate(self, factor: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] *= factor

    @torch.no_grad()
    def clamp(self) -> None:
        """Pixels back to [0, 1], where they are learned there."""
        if self.unit:
            self.pixels.clamp_(0, 1)

    def state(self) -> dict[str, Tensor]:
        """Everything the next step depends on."""
        learned = {"pixels": self.pixels.detach()} | ({} if self.logits is None else {"logits": self.logits.detach()})
        watched = torch.tensor([self.lowest, self.waited, self.halved, self.log_rate], dtype=torch.float64)
        return {**learned, "now": torch.tensor(self.now), "watched": watched, **optimiser_state(self.optimiser)}

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue where `state` was taken."""
        self.begin(int(state["now"]))
        self.pixels.copy_(state["pixels"])
        if self.logits is not None:
            self.logits.copy_(state["logits"])
        restore_optimiser(self.optimiser, state)
        self.lowest, waited, halved, self.log_rate = state["watched"].tolist()
        self.waited, self.halved = int(waited), int(halved)
        self._rate(0.5**self.halved)

    def _normalised(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) / self.std if self.unit else pixels

    def _optimiser(self) -> torch.optim.Optimizer:
        s = self.settings
        groups = [{"params": [self.pixels], "lr": s.image_lr}]
        if self.logits is not None:
            groups.append({"params": [self.logits], "lr": s.label_lr})
        if s.image_optimiser == "adamw":
            return torch.optim.AdamW(groups, lr=s.image_lr, weight_decay=0.01)
        return torch.optim.SGD(groups, lr=s.image_lr, momentum=s.image_momentum)


def stages_of(labels: Tensor, stages: int) -> Tensor:
    """The stage `(M,)` in which each image is learned: those of a class in order, shared out evenly, the first ones first."""
    found = torch.zeros_like(labels)
    for label in labels.unique():
        rows = (labels == label).nonzero().flatten()
        if len(rows) < stages:
            raise InputError(
                f"stages is {stages}, but a class has {len(rows)} images: each stage learns at least one of each class"
            )
        found[rows] = torch.arange(len(rows), device=labels.device) * stages // len(rows)
    return found
