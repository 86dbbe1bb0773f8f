"""Entropy, modes and learnability as guidance, and samples that begin at modes: each against itself written out in float64."""

import itertools
from dataclasses import replace

import pytest
import torch

from refluence.arm import Arm
from refluence.compute import Compute
from refluence.errors import InputError
from refluence.generate.arms import settings_for
from refluence.generate.dit import METHOD
from refluence.generate.entropy import EntropyEnergy, entropy
from refluence.generate.learnability import LearnabilityEnergy, learner
from refluence.generate.modes import centres, modes_of
from refluence.generate.noise import deviation_at, guided_steps, steps_of
from refluence.generate.predictions import linear_abar
from refluence.generate.sampling import Steering, sample
from refluence.generate.settings import Guidance, Settings, settings_from
from refluence.generate.solvers import solver_of
from refluence.generate.surrogate import Surrogate, SurrogateSettings
from refluence.generate.surrogate_work import SurrogateWork
from refluence.generate.trajectory import TrajectoryWork
from refluence.generate.work import APART, SamplingWork
from refluence.options import SamplingOptions
from refluence.options.ranges import HIGH, LOW, USUAL_RANGE
from refluence.seeds import streams
from support.diffusion import SHAPE, ToyDenoiser, ToyEnergy, tiny_denoiser, tiny_surrogate
from support.tiny_data import tiny_dataset

Y = torch.tensor([0, 1, 2, 0])
DATA = tiny_dataset((9, 8, 7), (1, 8, 8))
SURROGATE = tiny_surrogate(DATA)
WIDE = {"low": -20.0, "high": 20.0}
ENTROPY = Guidance(entropy=True, entropy_scale=0.05, **WIDE)
MODES = Guidance(modes=True, mode_scale=0.1, fraction=(0.5, 1.0))
LEARNABILITY = Guidance(learnability=True, learnability_scale=0.3, **WIDE)


def normal(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def look(z0: torch.Tensor) -> torch.Tensor:
    return (ToyDenoiser().decode(z0) - 0.4) / 0.3


def written_out(settings: Settings, modes: torch.Tensor) -> torch.Tensor:
    denoiser, energy, guidance = ToyDenoiser(), ToyEnergy(), settings.guidance
    steps = steps_of(settings)
    solver, guided, z_t = solver_of(settings.solver, denoiser.abar, steps), guided_steps(guidance, steps), normal(4, 4)
    for number, t in enumerate(steps):
        abar, z = denoiser.abar[t], z_t.clone().requires_grad_()
        z0, eps = denoiser.predict(z, t, Y, settings.cfg)
        push = 0.0
        if number in guided and guidance.entropy:
            clean = z0 if guidance.through else (z - (1 - abar).sqrt() * eps.detach()) / abar.sqrt()
            (g,) = torch.autograd.grad(energy.energy(look(clean), Y).sum(), z)
            eps = eps - guidance.entropy_scale * (1 - abar).sqrt() * g
        elif number in guided and guidance.learnability:
            clean = z0 if guidance.through else (z - (1 - abar).sqrt() * eps.detach()) / abar.sqrt()
            (g,) = torch.autograd.grad(energy.energy(look(clean), Y).sum(), z)
            rho = (1 - abar).sqrt() * eps.flatten(1).norm(dim=1) / g.flatten(1).norm(dim=1)
            eps = eps - guidance.learnability_scale * rho.view(-1, 1, 1, 1) * g
        elif number in guided:
            after = denoiser.abar[steps[number + 1]]
            sigma = ((1 - after) / (1 - abar) * (1 - abar / after)).sqrt()
            push = guidance.mode_scale * sigma * (z0 - modes).detach()
        z_t = solver.step(eps.detach(), number, z_t) - push
    return z_t


@pytest.mark.parametrize(
    "guidance", [ENTROPY, replace(ENTROPY, through=False), MODES, LEARNABILITY], ids=["full", "stop", "modes", "learnability"]
)
@pytest.mark.parametrize("solver", ["ddim", "dpm"])
def test_guided_samples_equal_the_equations_written_out(solver, guidance):
    settings = Settings(steps=10, solver=solver, guidance=guidance)
    modes = normal(4, 9)
    found = sample(ToyDenoiser(), normal(4, 4), Y, settings, Steering(ToyEnergy(), look, modes=modes))
    plain = sample(ToyDenoiser(), normal(4, 4), Y, replace(settings, guidance=Guidance()))
    assert torch.allclose(found.z, written_out(settings, modes), atol=1e-9 if solver == "ddim" else 1e-5)
    assert float((found.z - plain.z).abs().max()) > 1e-2
    assert found.guide is not None
    assert found.energy is None


def test_without_strength_the_images_are_the_unguided_ones():
    plain = sample(ToyDenoiser(), normal(4, 4), Y, Settings(steps=10))
    for guidance in (
        replace(ENTROPY, entropy_scale=0.0),
        replace(MODES, mode_scale=0.0),
        replace(LEARNABILITY, learnability_scale=0.0),
    ):
        assert torch.equal(sample(ToyDenoiser(), normal(4, 4), Y, Settings(steps=10, guidance=guidance)).z, plain.z)


def test_the_entropy_and_its_gradient_are_those_of_the_trained_network():
    energy = EntropyEnergy(SURROGATE)
    energy.net.double()
    x = torch.randn(3, *DATA.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value, slope = energy.gradient(x, Y[:3])
    p = SURROGATE.networks()[-1].double()(x).softmax(1).detach()
    assert torch.allclose(value, -(p * p.log()).sum(1))
    numeric = torch.zeros_like(x)
    for place in range(0, x.numel(), 17):
        moved = x.clone().flatten()
        moved[place] += 1e-5
        lower = x.clone().flatten()
        lower[place] -= 1e-5
        high, low = (entropy(energy.net(each.view_as(x))).sum().detach() for each in (moved, lower))
        numeric.view(-1)[place] = (high - low) / 2e-5
    assert torch.allclose(slope.flatten()[::17], numeric.flatten()[::17], atol=1e-7)
    assert float(slope.abs().max()) > 1e-3


def test_learnability_is_the_loss_that_the_reference_does_not_share():
    images, labels = torch.rand(6, *DATA.shape, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2] * 2)
    current = learner(SURROGATE, images, labels, streams(0), torch.device("cpu"))
    assert torch.equal(current(images).argmax(1), labels)  # it was trained on them
    energy = LearnabilityEnergy(current.double(), SURROGATE, omega=0.5)
    energy.reference.double()
    x = torch.randn(3, *DATA.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value, slope = energy.gradient(x, Y[:3])
    ours, theirs = (net(x).log_softmax(1)[range(3), Y[:3]] for net in (current, SURROGATE.networks()[-1].double()))
    torch.testing.assert_close(value, (-ours + 0.5 * theirs).detach())
    along = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    high, low = (energy.score(x + step * along, Y[:3]).sum().detach() for step in (1e-5, -1e-5))
    assert float((slope * along).sum()) == pytest.approx(float((high - low) / 2e-5), rel=1e-5)


def test_the_first_stage_is_that_of_igd_and_later_ones_teach_more():
    settings = Settings(steps=6, batch=4, guidance=replace(LEARNABILITY, deviation=True, candidates=3, stages=2))
    made = work(settings, (4, 4, 4))
    assert [(part.start, part.stop) for part in made.parts] == [(0, 4), (4, 6), (6, 10), (10, 12)]
    list(made.steps())
    seed = replace(settings, guidance=replace(settings.guidance, learnability=False, influence=True))
    igd = work(seed, (4, 4, 4))
    igd.parts = made.parts
    list(igd.steps())
    assert torch.equal(made.z[:6], igd.z[:6])
    assert made.stages.current is not None
    began, energy = made.stages.current
    assert began == 6
    unguided = work(replace(settings, guidance=Guidance()), (4, 4, 4))
    list(unguided.steps())
    y = made.labels[6:]
    scores = [energy.score(each.look(each.z[6:]), y) for each in (made, unguided)]
    assert float(scores[0].mean()) > float(scores[1].mean()) + 0.01


def test_of_two_candidates_the_one_with_more_left_to_learn_stays():
    guidance = replace(LEARNABILITY, learnability_scale=0.0, k=0.0, candidates=2, stages=2)
    two, one = (work(Settings(steps=4, batch=9, guidance=replace(guidance, candidates=n)), (2, 2, 2)) for n in (2, 1))
    for each in (two, one):
        list(each.steps())
    assert two.stages.current is not None
    part = two.parts[1]
    other = two._sampled(part, two.stages.current[1], two.settings, "-1").z
    with torch.no_grad():
        first, second = (two.stages.current[1].score(two.look(z), two.labels[part]) for z in (one.z[part], other))
    expected = torch.where((second > first).view(-1, 1, 1, 1), other, one.z[part])
    assert torch.equal(two.z[part], expected)
    assert not torch.equal(expected, one.z[part])


def test_learnability_needs_a_second_image():
    import refluence as rf

    with pytest.raises(InputError, match="ipc is 1: learnability needs 2 images a class"):
        rf.generate(DATA, "dit+learnability", ipc=1, denoiser=tiny_denoiser(DATA.classes, DATA.shape))


def test_centres_are_the_best_of_all_partitions():
    points = torch.tensor([[0.0, 0], [1, 0], [0, 1], [9, 9], [9, 8], [-8, 9]])
    partitions = (
        [[i for i in range(6) if labels[i] == k] for k in range(3)] for labels in itertools.product(range(3), repeat=6)
    )
    best = min(sum(float((points[p] - points[p].mean(0)).square().sum()) for p in parts if p) for parts in partitions)
    found = centres(points, 3, 0)
    assert float(torch.cdist(points, found).amin(1).square().sum()) == pytest.approx(best, rel=1e-5)
    assert torch.equal(centres(points, 6, 0).sort(0).values, points.sort(0).values)


def test_modes_are_of_encoded_images_and_at_most_as_many():
    denoiser = tiny_denoiser(DATA.classes, DATA.shape)
    found = modes_of(denoiser, DATA, (1, 20, 0), streams(0), torch.device("cpu"))
    assert [len(each) for each in found] == [1, 8, 0]
    mean = (2 * DATA.train.images[DATA.train.members(0)].float() / 255 - 1).mean(0)
    torch.testing.assert_close(found[0][0], mean)


def test_deviation_at_a_step_is_that_of_ddpm():
    from diffusers import DDPMScheduler

    abar, steps = linear_abar(), steps_of(Settings(steps=20))
    theirs = DDPMScheduler(beta_end=0.02, beta_start=1e-4, timestep_spacing="leading")
    theirs.set_timesteps(20)
    for number in (0, 7, 18):
        assert deviation_at(abar, steps, number) == pytest.approx(float(theirs._get_variance(steps[number])) ** 0.5, rel=1e-4)
    assert deviation_at(abar, steps, 19) == 0


def work(settings: Settings, counts=(2, 1, 2)) -> SamplingWork:
    denoiser = tiny_denoiser(DATA.classes, DATA.shape)
    return SamplingWork(settings, denoiser, SURROGATE, DATA, counts, streams(0), Compute())


def test_an_image_of_d4m_begins_at_its_noised_centre():
    settings = Settings(steps=10, batch=2, strength=0.7)
    made = work(settings)
    list(made.steps())
    steps = steps_of(settings)
    assert len(steps) == 7
    assert made.modes is not None
    abar = made.denoiser.abar[steps[0]].float()
    noise = torch.randn(*made.denoiser.shape, generator=streams(0)("noise", 2 * APART + 1))
    start = abar.sqrt() * made.modes[2][1] + (1 - abar).sqrt() * noise
    alone = sample(made.denoiser, start[None], torch.tensor([2]), settings).z
    torch.testing.assert_close(made.z[made.places.index((1, 2))][None], alone, rtol=1e-4, atol=1e-5)
    assert made.result().card["strength"] == 0.7


@pytest.mark.parametrize(
    "settings",
    [
        Settings(steps=4, batch=2, strength=0.5),
        Settings(steps=4, batch=2, guidance=MODES),
        Settings(steps=4, batch=2, guidance=replace(LEARNABILITY, stages=2, deviation=True)),
    ],
)
def test_stopped_after_a_batch_it_comes_to_the_same_bits(settings):
    whole = work(settings)
    events = list(whole.steps())
    for done in range(1, whole.total):
        first, second = work(settings), work(settings)
        list(itertools.islice(first.steps(), done))
        second.restore(first.state())
        list(second.steps())
        assert torch.equal(second.z, whole.z)
    assert (events[-1].guide is None) == (settings.strength is not None)


def test_ranges_are_those_of_each_guidance_unless_one_is_said():
    fifty = steps_of(Settings())
    usual = {kind: guided_steps(settings_from(SamplingOptions(), kind).guidance, fifty) for kind in ("igd", "entropy", "modes")}
    assert [fifty[places[0]] for places in usual.values()] == [900, 780, 980]
    assert [fifty[places[-1]] for places in usual.values()] == [600, 0, 480]
    said = settings_from(SamplingOptions(range="0%:10%"), "modes").guidance
    assert guided_steps(said, fifty) == (45, 46, 47, 48, 49)


@pytest.mark.parametrize("kind", ["igd", "entropy", "modes"])
def test_a_range_that_is_said_holds_whatever_it_is(kind):
    arm = Arm("dit", kind, (("range", USUAL_RANGE),))
    guidance = settings_for(arm, METHOD, SamplingOptions()).guidance
    assert (guidance.low, guidance.high, guidance.fraction) == (LOW, HIGH, None)


def test_an_estimate_counts_networks_and_candidates_of_later_stages():
    made = work(Settings(steps=4, batch=2, guidance=replace(LEARNABILITY, stages=2, candidates=3)), (4, 4, 4))
    next(made.steps())
    costs = {cost.what: cost for cost in made.ahead()}
    assert {what: cost.count for what, cost in costs.items()} == {"networks of the stages": 1, "candidates": 2 * 3}
    for cost in costs.values():
        cost.run(1)
    list(made.steps())
    assert made.ahead() == []


def learnability(surrogate: Surrogate) -> LearnabilityEnergy:
    return LearnabilityEnergy(surrogate.networks()[0], surrogate)


def test_what_classifies_is_the_trained_network_whatever_was_retained():
    trained = SURROGATE.checkpoints[0]
    kept = replace(SURROGATE, trained=trained)
    again = Surrogate.from_state(kept.model, kept.state())
    for net in (kept.classifier(), again.classifier(), EntropyEnergy(again).net, learnability(again).reference):
        assert all(torch.equal(t, trained[name]) for name, t in net.state_dict().items())
    old = Surrogate.from_state(SURROGATE.model, SURROGATE.state())  # of a folder that has no such state
    assert all(torch.equal(t, SURROGATE.checkpoints[-1][name]) for name, t in old.classifier().state_dict().items())


def test_the_last_epoch_is_kept_for_it_where_it_does_not_guide():
    settings = SurrogateSettings(epochs=2, batch=8, threshold=-1.0)
    model = SURROGATE.model
    training = TrajectoryWork(settings.training, model, DATA, streams(0), Compute())
    list(training.steps())
    looking = SurrogateWork(settings, training.result().artifact, DATA, streams(0), Compute())
    list(looking.steps())
    made = looking.artifact()
    assert made.epochs == (0,)
    assert all(torch.equal(t, training.result().artifact.checkpoints[2][n]) for n, t in made.classifier().state_dict().items())


def test_classes_of_other_counts_and_fewer_images_than_stages():
    made = work(Settings(steps=3, batch=4, guidance=replace(LEARNABILITY, deviation=True, stages=9)), (3, 1, 2))
    assert made.begins == [0, 3, 5]
    list(made.steps())
    card = made.result().card
    assert made.result().artifact.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert (card["stages"], card["sampled"]) == (3, 3 + 2 * 3), "two candidates of each image after the first stage"
