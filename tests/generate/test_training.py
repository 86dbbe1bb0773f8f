"""Training of a denoiser: what a step is trained on, labels dropped once, and the same bits wherever it is stopped."""

from dataclasses import replace

import pytest
import torch

from refluence.compute import Compute
from refluence.errors import InputError, RunError
from refluence.generate.denoiser import build_denoiser
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.training import DenoiserSettings, DenoiserWork, denoising_defaults, patch_of, squared_error
from refluence.run import checkpoint
from refluence.seeds import streams
from support.tiny_data import tiny_dataset

DATA = tiny_dataset()
CONFIG = DenoiserConfig(DATA.shape, DATA.classes, patch=4, width=16, depth=1, heads=2)
SETTINGS = DenoiserSettings(iterations=50, batch=8, lr=3e-3)


def work(config=CONFIG, **changes) -> DenoiserWork:
    return DenoiserWork(config, replace(SETTINGS, **changes), DATA, streams(0), Compute())


@pytest.mark.parametrize("stop", [0, 1, 2])
@pytest.mark.parametrize("kind", ["flow", "epsilon", "v"])
def test_a_stopped_training_continues_to_the_same_bits(stop, kind, tmp_path):
    config = replace(CONFIG, prediction=kind)
    whole, first, second = work(config), work(config), work(config)
    events = list(whole.steps())
    steps = first.steps()
    kept = [next(steps) for _ in range(stop)]
    checkpoint.save(tmp_path, first.state(), {})
    saved = checkpoint.load(tmp_path)
    second.restore(saved[0])
    assert kept + list(second.steps()) == events
    one, two = (each.result().artifact.state() for each in (whole, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [event.step for event in events] == [0, 1, 2]
    assert [whole.units(steps) for steps in range(4)] == [0, 20, 40, 50]
    one, two = whole.state(), second.state()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_state_keeps_nothing_of_later_steps():
    made = work()
    state = made.state()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    list(made.steps())
    assert all(torch.equal(state[name], kept[name]) for name in kept)
    assert not torch.equal(made.state()["average.0"], kept["average.0"])


@pytest.mark.parametrize("kind", ["flow", "epsilon", "v"])
def test_the_loss_falls(kind):
    events = list(work(replace(CONFIG, prediction=kind), iterations=200, batch=16).steps())
    assert events[-1].loss < 0.8 * events[0].loss
    assert events[-1].lr < events[1].lr


def test_labels_are_dropped_once_a_sample():
    always, never, some = work(label_drop=1.0), work(label_drop=0.0), work(label_drop=0.25, batch=400)
    null = len(DATA.classes)
    for number in (0, 7):
        assert bool((always.batch(number).x[2] == null).all())
        rows = never.batch(number).rows
        assert torch.equal(never.batch(number).x[2], DATA.train.labels[rows])
    batch = some.batch(3)
    dropped = batch.x[2] == null
    assert torch.equal(batch.x[2][~dropped], DATA.train.labels[batch.rows][~dropped])
    assert 0.2 < float(dropped.float().mean()) < 0.3


@pytest.mark.parametrize("kind", ["flow", "epsilon", "v"])
def test_a_step_trains_on_noised_images_of_its_rows(kind):
    made = work(replace(CONFIG, prediction=kind))
    batch = made.batch(5)
    (z, t, _), target = batch.x, batch.y
    clean = made.denoiser.encode(DATA.train.images[batch.rows].float() / 255)
    share = (t / 1000).view(-1, 1, 1, 1)
    if kind == "flow":
        torch.testing.assert_close(z - share * target, clean, rtol=1e-4, atol=1e-5)
    elif kind == "v":
        abar = made.denoiser.abar[t.long()].float().view(-1, 1, 1, 1)
        torch.testing.assert_close(abar.sqrt() * z - (1 - abar).sqrt() * target, clean, rtol=1e-4, atol=1e-5)
    else:
        abar = made.denoiser.abar[t.long()].float().view(-1, 1, 1, 1)
        torch.testing.assert_close(abar.sqrt() * clean + (1 - abar).sqrt() * target, z, rtol=1e-4, atol=1e-5)
    assert 0 <= t.min() < t.max() < 1000
    assert torch.equal(made.batch(5).y, target)
    assert not torch.equal(made.batch(6).y, target)


def test_the_denoiser_has_the_average_of_the_weights():
    made = work(ema=0.5)
    seen, update = [], made.average.update

    def stepped(net):
        update(net)
        seen.append([p.detach().clone() for p in net.parameters()])

    made.average.update = stepped
    list(made.steps())
    share = [0.5 ** (len(seen) - number) for number in range(len(seen))]
    for number, averaged in enumerate(made.artifact().net.parameters()):
        plain = sum(w * weights[number] for w, weights in zip(share, seen, strict=True)) / sum(share)
        torch.testing.assert_close(averaged, plain)
    assert not torch.equal(next(made.artifact().net.parameters()), next(made.denoiser.net.parameters()))


def test_an_untrained_one_is_as_it_was_built():
    made = work()
    assert all(torch.equal(a, b) for a, b in zip(made.artifact().state().values(), made.denoiser.state().values(), strict=True))
    assert made.artifact().net is not made.denoiser.net


def test_the_loss_of_an_image_is_its_mean_square():
    output, target = torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    assert squared_error(output, target).tolist() == [1.0, 4.0]


def test_numbers_that_are_no_longer_finite_end_it():
    with pytest.raises(RunError, match="training of the denoiser diverged"):
        list(work(lr=1e30).steps())


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"ema": 1.0}, {"label_drop": 1.5}, {"lr": 0.0}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} is .*: it must be"):
        replace(SETTINGS, **wrong)


@pytest.mark.parametrize("size", ["cpu", "paper"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 30, 20), (1, 7, 7), (2, 29, 29)])
def test_defaults_build_a_denoiser_of_any_size(shape, size):
    config, settings = denoising_defaults(shape, CONFIG.classes, size)
    assert (config.shape, config.classes) == (shape, CONFIG.classes)
    assert settings.iterations >= 100
    small = build_denoiser(replace(config, width=24, depth=1, heads=2), torch.Generator())
    z = torch.randn(1, *shape)
    assert small.predict(z, 10, None)[0].shape == z.shape


def test_patches_are_as_small_as_their_number_allows():
    assert [patch_of((1, *sides), 8) for sides in ((8, 8), (28, 28), (32, 32), (30, 20), (31, 31))] == [1, 4, 4, 5, 31]
    assert denoising_defaults((1, 8, 8), CONFIG.classes)[0].patch == 2
