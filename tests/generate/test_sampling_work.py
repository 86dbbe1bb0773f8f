"""A sampling as a work: whose noise is whose, stopped between any two batches, and what its result says."""

import warnings
from dataclasses import replace

import pytest
import torch

from refluence.compute import Compute
from refluence.data.distilled import pixel_values
from refluence.errors import InputError, RunError
from refluence.generate.facts import redundancy_facts
from refluence.generate.influence import InfluenceEnergy
from refluence.generate.sampling import sample
from refluence.generate.settings import Guidance, Pool, Settings
from refluence.generate.work import APART, SamplingWork
from refluence.seeds import streams
from support.diffusion import tiny_denoiser, tiny_surrogate
from support.tiny_data import tiny_dataset

DATA = tiny_dataset((9, 8, 7), (1, 8, 8))
SURROGATE = tiny_surrogate(DATA)
COUNTS = (3, 2, 3)
PLAIN = Settings(steps=6, batch=3)
IGD = replace(PLAIN, guidance=Guidance(influence=True, deviation=True, k=20.0, gamma=100.0))


def work(settings: Settings, seed: int = 0, surrogate=SURROGATE, counts=COUNTS) -> SamplingWork:
    return SamplingWork(settings, tiny_denoiser(DATA.classes, DATA.shape), surrogate, DATA, counts, streams(seed), Compute())


def done(settings: Settings, **more) -> SamplingWork:
    made = work(settings, **more)
    list(made.steps())
    return made


def test_images_are_those_of_their_own_noise_in_the_order_of_classes():
    small = done(PLAIN).result().artifact
    assert small.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    noise = torch.randn(1, 8, 8, generator=streams(0)("noise", 2 * APART + 1))[None]
    denoiser = tiny_denoiser(DATA.classes, DATA.shape)
    z = sample(denoiser, noise, torch.tensor([2]), PLAIN).z
    pixels = small.images[6] * torch.tensor(DATA.std).view(-1, 1, 1) + torch.tensor(DATA.mean).view(-1, 1, 1)
    assert torch.allclose(pixels, denoiser.decode(z)[0].clamp(0, 1), atol=1e-5)
    assert float(pixels.min() + 1e-6) >= 0
    assert float(pixels.max()) <= 1 + 1e-6


@pytest.mark.parametrize("solver", ["ddim", "ddpm", "dpm"])
def test_without_deviation_the_batch_changes_rounding_alone(solver):
    settings = replace(IGD, solver=solver, guidance=replace(IGD.guidance, deviation=False))
    one, all_ = (done(replace(settings, batch=batch)).result().artifact.images for batch in (1, 50))
    assert torch.allclose(one, all_, atol=1e-5)


def test_k_and_gamma_of_zero_give_the_unguided_images():
    plain = done(PLAIN).result().artifact.images
    off = done(replace(IGD, guidance=replace(IGD.guidance, k=0.0, gamma=0.0))).result().artifact.images
    assert torch.equal(off, plain)
    assert not torch.equal(done(IGD).result().artifact.images, plain)


@pytest.mark.parametrize(
    "settings", [IGD, replace(IGD, solver="ddpm"), replace(PLAIN, pool=Pool(1.5))], ids=["igd", "ddpm", "pool"]
)
def test_stopped_after_any_batch_it_comes_to_the_same_bits(settings):
    whole = done(settings)
    wanted = whole.result()
    for stop in range(1, whole.total):
        first = work(settings)
        steps = first.steps()
        for _ in range(stop):
            next(steps)
        second = work(settings)
        second.restore(first.state())
        events = list(second.steps())
        assert [event.step for event in events] == list(range(stop, whole.total))
        found = second.result()
        assert torch.equal(found.artifact.images, wanted.artifact.images)
        assert found.card == wanted.card


def test_later_batches_see_the_memory_and_a_limit_changes_them():
    single = replace(IGD, batch=3, guidance=replace(IGD.guidance, influence=False, gamma=2000.0))
    all_, none = (done(replace(single, guidance=replace(single.guidance, memory=m)), counts=(4, 4, 4)).z for m in (None, 0))
    assert torch.equal(all_[:3], none[:3])  # nothing is finished yet
    assert float((all_[3:] - none[3:]).abs().max()) > 1e-3


def test_events_say_energy_deviation_and_the_share_that_influence_moves():
    events = list(work(IGD).steps())
    assert [event.images for event in events] == [3, 3, 2]
    assert all(event.energy and 0 < event.energy < 2 and event.moved and event.moved > 0 for event in events)
    assert events[0].deviation == 0  # one image of each class, nothing finished
    assert events[1].deviation
    assert [event.energy for event in work(PLAIN).steps()] == [None] * 3


@pytest.mark.parametrize(
    ("weak", "said"),
    [
        ({"k": 1e-4, "deviation": False}, "by influence moved .* a larger k or kappa, or another range, would"),
        (
            {"gamma": 1e-6, "influence": False},
            "by deviation moved .* a larger gamma .or more images a class., or another range",
        ),
    ],
)
def test_guidance_that_moves_nothing_is_named_once(weak, said):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done(IGD).result()
    with pytest.warns(UserWarning, match=said) as seen:
        done(replace(IGD, guidance=replace(IGD.guidance, **weak))).result()
    assert len(seen) == 1


def test_the_card_has_the_facts():
    made = done(IGD)
    result = made.result()
    card, small = result.card, result.artifact
    energies = InfluenceEnergy(SURROGATE).energy(small.images, small.labels)
    assert card["influence"]["mean"] == pytest.approx(float(energies.mean()), abs=1e-5)
    assert card["influence"]["by_class"]["class 1"] == pytest.approx(float(energies[3:5].mean()), abs=1e-5)
    assert card["denoiser"]["method"] == "dit"
    assert len(card["denoiser"]["sha256"]) == 64
    assert card["guided_steps"] == [1, 2]  # t = 833 and 666
    assert (card["cfg"], card["solver"], card["sampled"]) == (2.0, "ddim", 8)
    first = torch.nn.functional.normalize(2 * pixel_values(small)[:3].flatten(1) / 255 - 1, dim=1)  # of class 0, as stored
    highest = (first @ first.T - 2 * torch.eye(3)).amax(1)
    assert card["nearest_by_class"]["class 0"] == pytest.approx(float(highest.mean()), abs=1e-5)
    every = [card["nearest_by_class"][f"class {c}"] * count for c, count in enumerate((3, 2, 3))]
    assert card["nearest"] == pytest.approx(sum(every) / 8, abs=1e-5)
    assert done(PLAIN, surrogate=None).result().card["influence"] is None


@pytest.mark.parametrize("by", ["herding", "influence"])
def test_a_pool_keeps_some_of_what_it_sampled(by):
    kept, everything = done(replace(PLAIN, pool=Pool(2.0, by))).result(), done(PLAIN, counts=(6, 4, 6)).result()
    assert kept.card["sampled"] == 16
    assert [event.images for event in work(replace(PLAIN, pool=Pool(2.0, by))).steps()] == [3, 3, 3, 3, 3, 1, 8]
    assert kept.artifact.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    among = {tuple(image.flatten().tolist()) for image in everything.artifact.images}
    found = [tuple(image.flatten().tolist()) for image in kept.artifact.images]
    assert set(found) <= among
    assert len(set(found)) == len(found)


def test_as_it_stands_a_set_is_as_large_as_the_whole():
    made = work(PLAIN)
    next(made.steps())
    assert made.artifact().stored_bytes == done(PLAIN).artifact().stored_bytes


def test_nearest_is_none_where_no_class_has_two():
    alone = redundancy_facts(torch.rand(3, 1, 2, 2), torch.arange(3), ("a", "b", "c"))
    assert alone == {"nearest": None, "nearest_by_class": {}}


def test_bf16_calls_the_denoiser_alone_and_gives_nearly_the_same():
    made = SamplingWork(
        IGD, tiny_denoiser(DATA.classes, DATA.shape), SURROGATE, DATA, COUNTS, streams(0), Compute(precision="bf16")
    )
    list(made.steps())
    difference = float((made.z - done(IGD).z).abs().max())
    assert 0 < difference < 0.2
    assert made.z.dtype == torch.float32


def test_numbers_that_are_not_finite_stop_the_work():
    made = work(IGD)
    with torch.no_grad():
        next(made.denoiser.net.parameters()).fill_(torch.nan)
    with pytest.raises(RunError, match="an image of class 'class 0' is not finite"):
        list(made.steps())


def test_what_cannot_be_sampled_is_refused():
    with pytest.raises(InputError, match="range is '20:30': it holds none of the 6 steps"):
        work(replace(IGD, guidance=replace(IGD.guidance, low=20.0, high=30.0)))
    other = tiny_denoiser(DATA.classes, (1, 16, 16))
    with pytest.raises(InputError, match="the denoiser samples images of 1 x 16 x 16, the data have 1 x 8 x 8"):
        SamplingWork(PLAIN, other, None, DATA, COUNTS, streams(0), Compute())
