"""Influence-guided sampling (IGD, ICLR 2025), Algorithm 1, for a batch of images of any classes.

    paper             here
    z_t, z0_hat       `z`, `z0`: the sample, and the clean one that is predicted from it            eq. 2
    alpha_t           `abar`: what is left of the image's variance at t
    s(z_t, t, eps)    `solver.step`                                                                 solvers.py
    G_I(D(z0_hat))    `energy`, on decoded images normalised as the surrogate saw them              eq. 7, influence.py
    G_D(z_t)          `deviation`                                                                   eq. 8, deviation.py
    rho_t             kappa k sqrt(1 - abar) |eps| / |grad G_I|, norms of each sample               eq. 9
    gamma_t           gamma, scaled by the size of the images                                       deviation.py

The energies of a batch are summed, so how strongly an image is guided does not depend on who shares its batch. The pixel
gradient of all checkpoints goes back once, through the decoder and the denoiser. Stop-gradient leaves the denoiser out:
dz0/dz = 1 / sqrt(abar). Steps without guidance keep no graph; that of a guided one is of a few large images at a time.

Other guidance goes the same way: an entropy of D(z0_hat), or what is left to learn of it, changes eps (entropy.py,
learnability.py), a mode moves the step (modes.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.generate.deviation import deviation, gamma_of
from refluence.generate.modes import mode_push
from refluence.generate.noise import deviation_at, guided_steps, steps_of
from refluence.generate.settings import Settings
from refluence.generate.solvers import solver_of


class Predicting(Protocol):
    """What sampling asks of a denoiser."""

    abar: Tensor

    def predict(self, z: Tensor, t: int, y: Tensor | None, cfg: float = 1.0) -> tuple[Tensor, Tensor]:
        """(z0, eps) of `z` `(B, ...)` at step t of classes `y`, both differentiable in z."""


class Energy(Protocol):
    """What sampling asks of an energy of images: the influence's, an entropy, or what is left to learn."""

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Its value `(B,)` of normalised images `x` `(B, C, H, W)` of classes `y`, and its gradient, shaped like x."""


@dataclass(frozen=True)
class Steering:
    """What a batch is guided by: an energy on `look(z0)`, normalised images, images `finished` `(M, ...)` of `labels`, and a
    mode of each image `(B, ...)`.

    `at_once`: images whose graph is kept at a time; None: those of the batch.
    """

    energy: Energy | None = None
    look: Callable[[Tensor], Tensor] = lambda z0: z0
    finished: Tensor | None = None
    labels: Tensor | None = None
    at_once: int | None = None
    modes: Tensor | None = None


@dataclass(frozen=True)
class Samples:
    """Finished `z` `(B, ...)`, and means over its images and guided steps, None where nothing was guided by it.

    `energy`: G_I of the predicted images. `deviation`: G_D. `moved`: |rho grad G_I| / |z|. `guide`: of other guidance, the
    entropy of the predicted images, their learnability, or their mean squared distance to their modes. `away`:
    |gamma grad G_D| / |z|.
    """

    z: Tensor
    energy: float | None = None
    deviation: float | None = None
    moved: float | None = None
    guide: float | None = None
    away: float | None = None


def sample(
    denoiser: Predicting,
    noise: Tensor,
    y: Tensor,
    settings: Settings,
    steering: Steering | None = None,
    generators: Sequence[torch.Generator] = (),
    compute: Compute | None = None,
) -> Samples:
    """Images of classes `y` `(B,)` from `noise` `(B, ...)`, by Algorithm 1 of IGD.

    Args:
        denoiser: predicts (z0, eps).
        noise: z at the first step: standard normal, or a noised mode.
        y: indices of classes.
        settings: steps, solver, scale of classifier-free guidance, and what guides.
        steering: the energies' own parts, where `settings.guidance` asks for them.
        generators: of the solver ddpm, one for each image.
        compute: the precision at which the denoiser is called.

    Returns:
        The finished z, which the denoiser decodes, and what the guidance measured.

    Raises:
        InputError: no step lies in the guided range, or there is no such solver, or diffusers is not installed.

    Example:
        >>> from refluence.generate.denoiser import build_denoiser
        >>> from refluence.generate.denoiser_config import DenoiserConfig
        >>> g = torch.Generator().manual_seed(0)
        >>> denoiser = build_denoiser(DenoiserConfig((1, 8, 8), ("a", "b"), width=16, depth=1), g)
        >>> noise = torch.randn(2, *denoiser.shape, generator=g)
        >>> found = sample(denoiser, noise, torch.tensor([0, 1]), Settings(steps=5))
        >>> tuple(denoiser.decode(found.z).shape)
        (2, 1, 8, 8)
    """
    guidance, steering, compute = settings.guidance, steering or Steering(), compute or Compute()
    abar = denoiser.abar.double().cpu()
    steps = steps_of(settings, len(abar))
    guided = set(guided_steps(guidance, steps, abar)) if guidance.steers else set()
    solver = solver_of(settings.solver, abar, steps, generators)
    by_influence, by_entropy = guidance.influence and guidance.k != 0, guidance.entropy and guidance.entropy_scale != 0
    by_learnability = guidance.learnability and guidance.learnability_scale != 0
    gamma = gamma_of(guidance, noise[0].numel()) if guidance.deviation else 0.0
    z, energies, deviations, moves, guides = noise, list[Tensor](), list[Tensor](), list[Tensor](), list[Tensor]()
    aways = list[Tensor]()
    for number, t in enumerate(steps):
        push = None
        if number in guided and by_influence:
            eps, value, gradient = energy_of(denoiser, z, t, y, settings, steering, compute)
            push = scaled(gradient, eps, guidance.kappa * guidance.k * math.sqrt(1 - abar[t]))
            energies.append(value)
            moves.append(push.flatten(1).norm(dim=1) / z.flatten(1).norm(dim=1))
        elif number in guided and by_entropy:
            eps, value, gradient = energy_of(denoiser, z, t, y, settings, steering, compute)
            eps = eps - guidance.entropy_scale * math.sqrt(1 - abar[t]) * gradient
            guides.append(value)
        elif number in guided and by_learnability:
            eps, value, gradient = energy_of(denoiser, z, t, y, settings, steering, compute)
            eps = eps - scaled(gradient, eps, guidance.learnability_scale * math.sqrt(1 - abar[t]))
            guides.append(value)
        else:
            z0, eps = predicted(denoiser, z, t, y, settings.cfg, compute)
            if number in guided and guidance.modes:
                assert steering.modes is not None, "guidance by modes has them"
                push, value = mode_push(z0, steering.modes, guidance.mode_scale, deviation_at(abar, steps, number))
                guides.append(value)
        if number in guided and gamma:
            nobody, none = z[:0], y[:0]
            finished = nobody if steering.finished is None else steering.finished
            value, away = deviation(z, y, finished, none if steering.labels is None else steering.labels)
            deviations.append(value)
            push = gamma * away if push is None else push + gamma * away
            aways.append(gamma * away.flatten(1).norm(dim=1) / z.flatten(1).norm(dim=1))
        z = solver.step(eps, number, z)
        z = z if push is None else z - push
    watched = (energies, deviations, moves, guides, aways)
    return Samples(z, *(float(torch.stack(all_).mean()) if all_ else None for all_ in watched))


@torch.no_grad()
def predicted(denoiser: Predicting, z: Tensor, t: int, y: Tensor, cfg: float, compute: Compute) -> tuple[Tensor, Tensor]:
    """(z0, eps) without a graph, in the type of z."""
    with compute.autocast():
        z0, eps = denoiser.predict(z, t, y, cfg)
    return z0.to(z), eps.to(z)


def energy_of(
    denoiser: Predicting, z: Tensor, t: int, y: Tensor, settings: Settings, steering: Steering, compute: Compute
) -> tuple[Tensor, Tensor, Tensor]:
    """eps, the energy of D(z0_hat) `(B,)` and its gradient by `z`, all detached."""
    size = steering.at_once or len(z)
    parts = zip(z.split(size), y.split(size), strict=True)
    found = [_energy_of(denoiser, part, t, labels, settings, steering, compute) for part, labels in parts]
    eps, energy, gradient = (torch.cat(each) for each in zip(*found, strict=True))
    return eps, energy, gradient


def _energy_of(
    denoiser: Predicting, z: Tensor, t: int, y: Tensor, settings: Settings, steering: Steering, compute: Compute
) -> tuple[Tensor, Tensor, Tensor]:
    assert steering.energy is not None, "guidance by an energy has one"
    if settings.guidance.through:
        source = z.detach().requires_grad_()
        with torch.enable_grad(), compute.autocast():
            clean, eps = denoiser.predict(source, t, y, settings.cfg)
    else:
        clean, eps = predicted(denoiser, z, t, y, settings.cfg, compute)
        source = clean = clean.requires_grad_()
    with torch.enable_grad(), compute.autocast():
        x = steering.look(clean).to(z)
    energy, pixels = steering.energy.gradient(x.detach(), y)
    (gradient,) = torch.autograd.grad(x, source, pixels)
    scale = 1.0 if settings.guidance.through else 1 / math.sqrt(denoiser.abar[t])
    return eps.detach().to(z), energy.detach(), gradient * scale


def scaled(gradient: Tensor, eps: Tensor, strength: float) -> Tensor:
    """rho g (eq. 9): `gradient` at `strength` times the norm of `eps`, for each sample; zero where the gradient is zero."""
    norm = gradient.flatten(1).norm(dim=1)
    rho = torch.where(norm > 0, strength * eps.flatten(1).norm(dim=1) / norm, 0.0)
    return rho.view(-1, *[1] * (gradient.dim() - 1)) * gradient
