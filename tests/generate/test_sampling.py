"""A guided step against autograd written out plainly; what guidance leaves as it is; how it acts on a toy."""

from dataclasses import replace

import pytest
import torch

from refluence.errors import InputError
from refluence.generate.noise import guided_steps, timesteps
from refluence.generate.sampling import Steering, sample, scaled
from refluence.generate.settings import Guidance, Settings
from refluence.generate.solvers import solver_of
from support.diffusion import SHAPE, NoEnergy, ToyDenoiser, ToyEnergy

Y = torch.tensor([0, 1, 2, 0, 0])
FINISHED, LABELS = torch.ones(1, *SHAPE, dtype=torch.float64), torch.tensor([1])
IGD = Guidance(influence=True, deviation=True, k=50.0, gamma=500.0)
TEN = Settings(steps=10, guidance=IGD)


def noise(count: int = 5) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def steering(energy: ToyEnergy | None = None) -> Steering:
    return Steering(energy or ToyEnergy(), lambda z0: (ToyDenoiser().decode(z0) - 0.4) / 0.3, FINISHED, LABELS)


def generators(count: int = 5) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(count)]


def literal(settings: Settings) -> torch.Tensor:
    """Algorithm 1, image by image, every gradient by autograd."""
    denoiser, energy, guidance = ToyDenoiser(), ToyEnergy(), settings.guidance
    steps = timesteps(settings.solver, settings.steps)
    guided = guided_steps(guidance, steps)
    solver = solver_of(settings.solver, denoiser.abar, steps, generators())
    z_t = noise()
    for number, t in enumerate(steps):
        abar, pushes, noises = denoiser.abar[t], [], []
        for i, label in enumerate(Y):
            z = z_t[i : i + 1].clone().requires_grad_()
            z0, eps = denoiser.predict(z, t, label[None], settings.cfg)
            clean = z0 if guidance.through else (z - (1 - abar).sqrt() * eps.detach()) / abar.sqrt()  # eq. 2, eps fixed
            value = energy.energy((denoiser.decode(clean) - 0.4) / 0.3, label[None]).sum()
            (g,) = torch.autograd.grad(value, z, retain_graph=True)
            push = guidance.kappa * guidance.k * (1 - abar).sqrt() * eps.detach().norm() / g.norm() * g
            mates = [z_t[j : j + 1] for j in range(len(Y)) if j != i and Y[j] == label]
            there = mates + ([FINISHED] if int(label) == 1 else [])
            if there:
                cosines = torch.stack([(z * m).sum() / (z.norm() * m.norm()) for m in there])
                (away,) = torch.autograd.grad(cosines.max(), z)
                push = push + guidance.gamma * 9 / 4096 * away
            pushes.append(push)
            noises.append(eps.detach())
        stepped = solver.step(torch.cat(noises), number, z_t)
        z_t = stepped - torch.cat(pushes) if number in guided else stepped
    return z_t


@pytest.mark.parametrize("through", [True, False])
@pytest.mark.parametrize("solver", ["ddim", "ddpm", "dpm"])
def test_guided_samples_equal_algorithm_1_written_out(solver, through):
    settings = replace(TEN, solver=solver, guidance=replace(IGD, through=through))
    ours = sample(ToyDenoiser(), noise(), Y, settings, steering(), generators())
    plain = sample(ToyDenoiser(), noise(), Y, replace(settings, guidance=Guidance()), generators=generators())
    wanted = literal(settings)
    assert torch.allclose(ours.z, wanted, atol=1e-9 if solver != "dpm" else 1e-6)  # dpm steps in float32
    assert float((ours.z - plain.z).abs().max()) > 1e-2
    assert not ours.z.requires_grad


def test_rho_moves_each_sample_by_the_same_share_of_its_noise():
    gradient, eps = noise() * torch.tensor([1.0, 1e-9, 1e9, 3, 1]).view(-1, 1, 1, 1), noise().flip(0)
    push = scaled(gradient, eps, 0.25)
    assert torch.allclose(push.flatten(1).norm(dim=1), 0.25 * eps.flatten(1).norm(dim=1))
    share = push / gradient
    assert torch.allclose(share.flatten(1).amin(1), share.flatten(1).amax(1), rtol=1e-9)  # the same direction
    gradient[2] = 0
    assert float(scaled(gradient, eps, 0.25)[2].abs().max()) == 0


def test_the_default_k_moves_z_by_about_a_hundredth():
    settings = replace(TEN, steps=50, guidance=Guidance(influence=True))
    moved = sample(ToyDenoiser(), noise(), Y, settings, steering()).moved
    assert moved is not None
    assert 0.005 < moved < 0.02


def test_without_strength_the_images_are_the_unguided_ones_and_nothing_is_computed():
    plain = sample(ToyDenoiser(), noise(), Y, replace(TEN, guidance=Guidance()))
    energy = ToyEnergy()
    off = sample(ToyDenoiser(), noise(), Y, replace(TEN, guidance=replace(IGD, k=0.0, gamma=0.0)), steering(energy))
    assert torch.equal(off.z, plain.z)
    assert energy.calls == 0
    assert (off.energy, off.deviation, off.moved) == (None, None, None)


def test_a_flat_energy_moves_nothing():
    plain = sample(ToyDenoiser(), noise(), Y, replace(TEN, guidance=Guidance()))
    flat = sample(ToyDenoiser(), noise(), Y, replace(TEN, guidance=Guidance(influence=True)), steering(NoEnergy()))
    assert torch.equal(flat.z, plain.z)


def test_the_denoiser_is_called_once_a_step_and_the_energy_once_a_guided_one():
    denoiser, energy = ToyDenoiser(), ToyEnergy()
    sample(denoiser, noise(), Y, TEN, steering(energy))
    assert denoiser.calls == 10
    assert energy.calls == len(guided_steps(IGD, timesteps("ddim", 10)))


@pytest.mark.parametrize("solver", ["ddim", "ddpm", "dpm"])
def test_images_do_not_depend_on_their_batch_without_deviation(solver):
    settings = replace(TEN, solver=solver, guidance=replace(IGD, deviation=False))
    whole = sample(ToyDenoiser(), noise(), Y, settings, steering(), generators()).z
    parts = [slice(0, 1), slice(1, 3), slice(3, 5)]
    cut = [sample(ToyDenoiser(), noise()[p], Y[p], settings, steering(), generators()[p]).z for p in parts]
    assert torch.allclose(torch.cat(cut), whole, atol=1e-5)


def test_a_graph_of_a_few_images_at_a_time_gives_the_same():
    together, apart = (sample(ToyDenoiser(), noise(), Y, TEN, replace(steering(), at_once=n)).z for n in (None, 2))
    assert torch.allclose(together, apart, atol=1e-12)


def test_influence_lowers_the_energy_of_finished_images():
    y, look, energy = torch.zeros(16).long(), steering().look, ToyEnergy()
    means = []
    for k in (0.0, 20.0, 100.0):
        settings = replace(TEN, steps=30, guidance=Guidance(influence=True, k=k))
        z = sample(ToyDenoiser(), noise(16), y, settings, Steering(energy, look)).z
        means.append(float(energy.energy(look(z), y).mean()))
    assert means[0] > means[1] > means[2]


class TwoModes(ToyDenoiser):
    """The exact denoiser of a class with two images: rare with a tenth of the weight, common with the rest."""

    modes = torch.stack([torch.ones(9), -torch.ones(9)]).double()

    def eps(self, z, t, y):
        a, s = self.abar[t].sqrt(), (1 - self.abar[t]).sqrt()
        flat = z.flatten(1)
        far = torch.cdist(flat, a * self.modes).square() / (2 * s**2)
        share = (torch.tensor([0.1, 0.9]).log() - far).softmax(1)
        return ((flat - a * (share @ self.modes)) / s).view_as(z)

    def rare(self, z):
        return float((z.flatten(1).mean(1) > 0).double().mean())


def test_deviation_raises_the_number_of_modes():
    denoiser, y = TwoModes(), torch.zeros(40).long()
    common = -torch.ones(1, *SHAPE).double()
    shares = []
    for gamma in (0.0, 400.0):
        settings = Settings(cfg=1.0, steps=30, guidance=Guidance(deviation=True, gamma=gamma))
        rare = 0.0
        for i in range(40):  # one image after the other, beside one of the common mode
            out = sample(denoiser, noise(40)[i : i + 1], y[:1], settings, Steering(finished=common, labels=y[:1]))
            rare += denoiser.rare(out.z) / 40
        shares.append(rare)
    assert shares[0] < 0.3
    assert shares[1] > shares[0] + 0.2


def test_a_range_without_steps_is_refused_before_the_denoiser_is_called():
    denoiser = ToyDenoiser()
    with pytest.raises(InputError, match="range is '20:30': it holds none of the 10 steps"):
        sample(denoiser, noise(), Y, replace(TEN, guidance=replace(IGD, low=20.0, high=30.0)), steering())
    assert denoiser.calls == 0
