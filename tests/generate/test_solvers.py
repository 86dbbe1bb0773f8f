"""Unguided samples are those of the schedulers of diffusers, run as diffusers runs them."""

import pytest
import torch

from refluence.errors import InputError
from refluence.generate.noise import timesteps
from refluence.generate.sampling import sample
from refluence.generate.settings import Settings
from refluence.generate.solvers import solver_of
from support.diffusion import SHAPE, ToyDenoiser

diffusers = pytest.importorskip("diffusers")
THEIRS = {"ddim": "DDIMScheduler", "ddpm": "DDPMScheduler", "dpm": "DPMSolverMultistepScheduler"}
Y = torch.tensor([0, 1, 2, 0])


def noise() -> torch.Tensor:
    return torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def generators(count: int = 4) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(count)]


@pytest.mark.parametrize("steps", [5, 10, 50])
@pytest.mark.parametrize("solver", list(THEIRS))
def test_whole_samples_equal_those_of_diffusers(solver, steps):
    denoiser, z = ToyDenoiser(), noise()
    clip = {} if solver == "dpm" else {"clip_sample": False}
    theirs = getattr(diffusers, THEIRS[solver])(beta_start=1e-4, beta_end=0.02, **clip)
    theirs.alphas_cumprod = denoiser.abar  # of the same betas, not rounded to float32
    theirs.set_timesteps(steps)
    draws = {"generator": generators()} if solver == "ddpm" else {}
    for t in theirs.timesteps:
        z = theirs.step(denoiser.predict(z, int(t), Y, 2.0)[1], t, z, **draws).prev_sample
    ours = sample(denoiser, noise(), Y, Settings(solver=solver, steps=steps), generators=generators()).z
    assert float((ours - z).abs().max()) < 1e-6 * float(z.abs().max())


@pytest.mark.parametrize("count", [1, 2, 30, 667])
@pytest.mark.parametrize("solver", list(THEIRS))
def test_every_step_with_a_perfect_prediction_is_that_of_the_closed_form(solver, count):
    """With eps = (z - a x) / s for one x: ddim and dpm keep the eps of the start, ddpm draws from q(z_{t-1} | z_t, x)."""
    x, abar, z = torch.full((1, *SHAPE), 0.5, dtype=torch.float64), ToyDenoiser().abar, noise()[:1]
    steps, own = timesteps(solver, count), generators(1)
    ours, (draws,) = solver_of(solver, abar, steps, own), generators(1)
    first = (z - abar[steps[0]] ** 0.5 * x) / (1 - abar[steps[0]]) ** 0.5
    for number, now in enumerate(abar[list(steps)]):
        after = abar[steps[number + 1]] if number + 1 < count else torch.ones((), dtype=torch.float64)
        if solver == "ddpm":
            beta = 1 - now / after
            right = (after**0.5 * beta * x + (1 - beta) ** 0.5 * (1 - after) * z) / (1 - now)
            if number + 1 < count:
                right += (beta * (1 - after) / (1 - now)) ** 0.5 * torch.randn(z.shape, generator=draws, dtype=z.dtype)
        else:
            right = after**0.5 * x + (1 - after) ** 0.5 * first
        z = ours.step((z - now**0.5 * x) / (1 - now) ** 0.5, number, z)
        assert torch.allclose(z, right, atol=1e-5), number
    assert torch.allclose(z, x, atol=1e-5)


def test_noise_of_the_solver_belongs_to_the_image():
    settings = Settings(solver="ddpm", steps=10)
    together = sample(ToyDenoiser(), noise(), Y, settings, generators=generators()).z
    alone = sample(ToyDenoiser(), noise()[2:3], Y[2:3], settings, generators=generators()[2:3]).z
    assert torch.allclose(together[2:3], alone, atol=1e-12)


def test_an_unknown_solver_is_refused():
    with pytest.raises(InputError, match="solver ddin: did you mean ddim"):
        solver_of("ddin", ToyDenoiser().abar, timesteps("ddim", 5))
