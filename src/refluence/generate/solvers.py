"""s(z_t, t, eps): one step of a solver towards less noise; the solvers are the schedulers of diffusers.

    ddim    z_{t-1} = sqrt(abar_{t-1}) z0_hat + sqrt(1 - abar_{t-1}) eps                                    arXiv 2010.02502
    ddpm    z_{t-1} ~ q(z_{t-1} | z_t, z0_hat): noise at every step but the last                            arXiv 2006.11239
    dpm     DPM-Solver++ of second order: z0_hat of the step before counts too                              arXiv 2211.01095

ddpm draws with the variance of q; the one that DiT learned beside eps is not used.

A scheduler is given the abar of our steps alone, as if it had been trained on them, and goes through all of them. So its own
way to lay out steps, which is another in each, does not matter, and any number of steps works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from refluence.errors import InputError, did_you_mean
from refluence.generate.extra import need_diffusers

SOLVERS = ("ddim", "ddpm", "dpm")


class Scheduler(Protocol):
    """What a scheduler of diffusers has."""

    alphas_cumprod: Tensor
    set_timesteps: Callable[[int], None]
    step: Callable[..., tuple[Tensor, ...]]


class Solver:
    """One batch on its way: dpm remembers the step before, so `step` is called exactly once for each, in order.

    Args:
        scheduler: of diffusers, new.
        abar: of its steps `(n,)`, the least noisy first.
        generators: where the solver draws, one for each image of the batch.
    """

    def __init__(self, scheduler: Scheduler, abar: Tensor, generators: Sequence[torch.Generator]):
        self.scheduler, self.last, self.generators = scheduler, len(abar) - 1, list(generators)
        scheduler.alphas_cumprod = abar  # the scheduler's own are rounded
        scheduler.set_timesteps(len(abar))

    def step(self, eps: Tensor, number: int, z: Tensor) -> Tensor:
        """z of the next step from eps and z `(B, ...)`, both detached, at step `number`, the noisiest being 0."""
        draws: dict[str, Any] = {"generator": self.generators} if self.generators else {}
        return self.scheduler.step(eps, self.last - number, z, **draws, return_dict=False)[0]


def solver_of(name: str, abar: Tensor, steps: Sequence[int], generators: Sequence[torch.Generator] = ()) -> Solver:
    """A solver at its first step.

    Args:
        name: ddim, ddpm or dpm.
        abar: of the denoiser `(T,)`.
        steps: indices into `abar`, the noisiest first.
        generators: for ddpm, one for each image of the batch; the others draw nothing.

    Raises:
        InputError: no such solver, or diffusers is not installed.
    """
    if name not in SOLVERS:
        raise InputError(f"solver {name}: {did_you_mean(name, SOLVERS)}")
    need_diffusers(f"the solver {name}")
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

    ours = abar.double().cpu()[list(steps)].flip(0)
    betas = (1 - ours / torch.cat([ours.new_ones(1), ours[:-1]])).tolist()
    trained: dict[str, Any] = {"num_train_timesteps": len(ours), "trained_betas": betas}
    if name == "dpm":
        return Solver(cast(Scheduler, DPMSolverMultistepScheduler(**trained, timestep_spacing="trailing")), ours, ())
    if name == "ddpm":
        return Solver(cast(Scheduler, DDPMScheduler(**trained, clip_sample=False)), ours, generators)
    return Solver(cast(Scheduler, DDIMScheduler(**trained, clip_sample=False)), ours, ())
