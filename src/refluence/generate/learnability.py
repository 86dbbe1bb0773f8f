"""What a network can still learn, as an energy, and a set that grows by it in stages: learnability-guided diffusion (LGD).

    S(x, y) = l(x, y; theta_i-1) - omega l(x, y; theta*)                            eq. of arXiv 2604.00519 (CVPR 2026)
    eps'    = eps - lambda rho_t grad_z S(D(z0_hat), y),    rho_t = sqrt(1 - abar_t) |eps| / |grad_z S|

theta_i-1 is trained on the images of the stages before, theta* on the source: samples become those that the first gets wrong
and the second does not. The first stage is IGD's (influence and deviation), every later one is led by S and by deviation, and
of each of its images several candidates are sampled, of which the one with the highest S stays.

Stated: S, rho_t, the stages, IGD for the first one, the candidates. The formula is printed with +; subtracted from eps, as
here, the gradient makes S rise. Not stated where it was read, and ours: lambda = .2, omega = 1, two candidates; theta_i-1
starts anew at each stage and takes STEPS of SGD; theta* is the trained surrogate; the guided range is IGD's. The deviation is
IGD's eq. 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from refluence.generate.facts import normalised
from refluence.generate.influence import InfluenceEnergy
from refluence.generate.settings import Guidance, Settings
from refluence.generate.surrogate import Surrogate
from refluence.models import build
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.objectives import Objective
from refluence.training.optimisers import make

STEPS, BATCH, RATE, MOMENTUM = 300, 64, 0.01, 0.9  # of the training on the images so far


def begins(places: Sequence[tuple[int, int]], stages: int) -> list[int]:
    """Where the stages begin among images `(i, class)` in a row, those of smaller i first: at most as many as there are i.

    Example:
        >>> begins([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)], 2), begins([(0, 0), (1, 0)], 5)
        ([0, 4], [0, 1])
    """
    most = 1 + max(i for i, _ in places)
    stage = [i * stages // most for i, _ in places]
    return [at for at in range(len(places)) if at == 0 or stage[at] != stage[at - 1]]


def parts(begin: Sequence[int], count: int, batch: int) -> list[slice]:
    """The batches of `count` images in a row: at most `batch` each, and each of the one stage that begins before it.

    Example:
        >>> parts([0, 4], 5, 3)
        [slice(0, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    ends = [*begin[1:], count]
    return [slice(at, min(at + batch, end)) for start, end in zip(begin, ends, strict=True) for at in range(start, end, batch)]


class LearnabilityEnergy:
    """S of images.

    Args:
        current: the network that was trained on the images so far, in evaluation mode.
        surrogate: of the source; as it is after its training it is theta*.
        omega: how much theta* counts.
        device: where both run.
    """

    def __init__(self, current: nn.Module, surrogate: Surrogate, omega: float = 1.0, device: torch.device | str = "cpu"):
        self.current = current.requires_grad_(False)
        self.reference = surrogate.classifier(device).requires_grad_(False)
        self.omega = omega

    def score(self, x: Tensor, y: Tensor) -> Tensor:
        """S `(B,)` of images `(B, C, H, W)`, normalised as the surrogate's, of classes y `(B,)`; differentiable in x."""
        ours, theirs = (cross_entropy(net(x), y, reduction="none") for net in (self.current, self.reference))
        return ours - self.omega * theirs

    def better(self, first: Tensor, second: Tensor, y: Tensor, look: Callable[[Tensor], Tensor]) -> Tensor:
        """Of each pair of samples `(B, ...)` the one with the higher S; `look` gives their normalised images."""
        with torch.no_grad():
            ours, theirs = (self.score(look(z), y) for z in (first, second))
        return torch.where((theirs > ours).view(-1, *[1] * (first.dim() - 1)), second, first)

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """S `(B,)` and its gradient by x, both detached."""
        source = x.detach().requires_grad_()
        with torch.enable_grad():
            value = self.score(source, y)
            (slope,) = torch.autograd.grad(value.sum(), source)
        return value.detach(), slope


def learner(surrogate: Surrogate, images: Tensor, labels: Tensor, rng: Rng, device: torch.device) -> nn.Module:
    """theta_i-1: the surrogate's network, new, trained on images `(N, C, H, W)`, normalised as its own were, of `labels (N,)`.

    `rng("learner-network" | "learner-order" | "learner-training", N)` draws its weights, the batches and its dropout.
    """
    net = build(surrogate.model, rng("learner-network", len(images)), device).train()
    order, size = rng("learner-order", len(images)), min(BATCH, len(images))
    drawn = (torch.randperm(len(images), generator=order)[:size] for _ in range(STEPS))
    batches = (Batch(images[rows].to(device), labels[rows].to(device), rows=rows) for rows in drawn)
    training = rng("learner-training", len(images))
    fit(net, make(net, "sgd", RATE, momentum=MOMENTUM), batches, Objective(), generator=training, device=device)
    return net.eval()


class Stages:
    """The stages of a set on its way: what guides each, from the images of those before.

    Args:
        surrogate: of the source.
        guidance: its `omega`, `candidates`.
        begins: the positions at which stages begin.
        labels: `(N,)` of all images of the set.
        rng: see `learner`.
        device: where networks are.
    """

    def __init__(
        self, surrogate: Surrogate, guidance: Guidance, begins: Sequence[int], labels: Tensor, rng: Rng, device: torch.device
    ):
        self.surrogate, self.guidance, self.begins, self.labels = surrogate, guidance, begins, labels
        self.rng, self.device = rng, device
        self.current: tuple[int, LearnabilityEnergy] | None = None  # where the stage begins that was asked for last

    def steered_by(
        self, part: slice, first: InfluenceEnergy, settings: Settings, pixels: Callable[[], Tensor]
    ) -> tuple[InfluenceEnergy | LearnabilityEnergy, Settings]:
        """The energy and the settings of a batch; `first`: of the first stage. `pixels` gives the images so far."""
        made = max(begin for begin in self.begins if begin <= part.start)
        if made == 0:
            return first, replace(settings, guidance=replace(settings.guidance, learnability=False, influence=True))
        if self.current is None or self.current[0] != made:
            self.current = made, self.energy_after(made, pixels)
        return self.current[1], settings

    def energy_after(self, made: int, pixels: Callable[[], Tensor]) -> LearnabilityEnergy:
        """The energy of the stage before which `made` images stand."""
        images = normalised(pixels()[:made], self.surrogate.mean, self.surrogate.std)
        current = learner(self.surrogate, images, self.labels[:made], self.rng, self.device)
        return LearnabilityEnergy(current, self.surrogate, self.guidance.omega, self.device)

    def further(self) -> int:
        """Candidates that are sampled beside the images of the set."""
        later = len(self.labels) - self.begins[1] if len(self.begins) > 1 else 0
        return (self.guidance.candidates - 1) * later
