"""A denoiser of latents from scratch: both parts of its training, the folder, guidance through its decoder, and the options."""

import json
from dataclasses import replace

import pytest
import torch

from refluence.compute import Compute
from refluence.errors import InputError, RunError
from refluence.generate import autoencoder_work
from refluence.generate.autoencoder import AutoencoderConfig
from refluence.generate.autoencoder_work import AutoencoderSettings, autoencoder_defaults
from refluence.generate.beforehand import Trained, autoencoder_of, denoiser_from, denoiser_of
from refluence.generate.denoiser import Denoiser, build_denoiser, digest
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.denoiser_folder import load_denoiser
from refluence.generate.latent_work import LatentWork
from refluence.generate.sampling import Steering, sample
from refluence.generate.settings import Guidance, Settings
from refluence.generate.training import DenoiserSettings, denoising_defaults
from refluence.options import SamplingOptions
from refluence.run import checkpoint
from refluence.seeds import streams
from support.diffusion import ToyEnergy
from support.tiny_data import tiny_dataset

diffusers = pytest.importorskip("diffusers")
DATA = tiny_dataset((6, 5, 4))
CONFIG = DenoiserConfig(
    DATA.shape, DATA.classes, patch=2, width=8, depth=1, heads=2, autoencoder=AutoencoderConfig(factor=2, width=4)
)
TRAINED = Trained(CONFIG, DenoiserSettings(iterations=30, batch=4), AutoencoderSettings(iterations=15, batch=4))


def work(trained=TRAINED, data=DATA) -> LatentWork:
    return trained.open(data, streams(0), Compute())


@pytest.fixture(scope="module")
def whole() -> tuple[LatentWork, list]:
    made = work()
    return made, list(made.steps())


@pytest.fixture(scope="module")
def denoiser(whole) -> Denoiser:
    return whole[0].result().artifact


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4])
def test_a_training_that_is_stopped_in_either_part_continues_to_the_same_bits(stop, whole, tmp_path):
    first, second = work(), work()
    steps = first.steps()
    kept = [next(steps) for _ in range(stop)]
    checkpoint.save(tmp_path, first.state(), {})
    second.restore(checkpoint.load(tmp_path)[0])
    assert second.step == stop
    assert kept + list(second.steps()) == whole[1]
    assert same(second.state(), whole[0].state())
    assert same(second.result().artifact.tensors(), whole[0].result().artifact.tensors())


def test_one_part_comes_after_the_other(whole):
    made, events = whole
    assert [event.step for event in events] == [0, 1, 2, 3]
    assert [hasattr(event, "kl") for event in events] == [True, True, False, False]
    assert made.total == made.step == 4
    assert [made.units(step) for step in range(5)] == [0, 10, 15, 35, 45]


def test_the_autoencoder_stays_as_it_is_in_the_second_part():
    made = work()
    steps = made.steps()
    for _ in range(3):
        next(steps)
    codec = {name: tensor.clone() for name, tensor in made.codec.state().items()}
    next(steps)
    assert same(made.codec.state(), codec)
    assert same({k: v for k, v in codec.items() if k != "scale"}, made.first.net.vae.state_dict())


def test_a_state_keeps_nothing_of_later_steps():
    made = work()
    steps = made.steps()
    next(steps)
    state = made.state()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    next(steps)
    assert same(state, kept)


def test_latents_have_deviation_1_on_the_training_images(denoiser):
    z = denoiser.encode(DATA.train.images.float() / 255)
    assert z.shape == (15, 4, 4, 4)
    assert float(z.double().std()) == pytest.approx(1, abs=1e-5)


def test_images_are_encoded_once_to_what_each_step_would_encode(whole, monkeypatch):
    made = whole[0].second
    kept = made.batch(7)
    monkeypatch.setattr(made, "encoded", None)
    one = made.batch(7)
    torch.testing.assert_close(kept.x[0], one.x[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kept.y, one.y, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(autoencoder_work, "HELD", 0)
    assert whole[0].first.encoded(whole[0].codec) is None


def test_the_reconstruction_gets_better():
    longer = replace(TRAINED, autoencoder=AutoencoderSettings(iterations=60, batch=4, lr=1e-2))
    events = list(work(longer).first.steps())
    assert events[-1].reconstruction < 0.9 * events[0].reconstruction


def test_the_card_says_how_well_images_come_back(whole):
    card = whole[0].result().card
    made, codec = whole[0], whole[0].codec
    x = DATA.train.images.float() / 255
    errors = (x - codec.decode(codec.encode(x)).clamp(0, 1)).square().flatten(1).mean(1)
    assert card["autoencoder"]["psnr"]["train"] == pytest.approx(float(-10 * errors.log10().mean()), rel=1e-4)
    assert card["autoencoder"]["psnr"].keys() == {"train", "val"}
    assert card["autoencoder"]["scale"] == codec.scale
    assert (card["images"], card["training"]["iterations"]) == (15, made.second.settings.iterations)


def test_a_folder_gives_the_same_samples(denoiser, tmp_path):
    denoiser.save(tmp_path, {"seconds": 1.0})
    read = load_denoiser(tmp_path, DATA.classes, DATA.shape)
    assert (read.config, read.shape) == (CONFIG, (4, 4, 4))
    assert digest(read) == digest(denoiser) == read.card["sha256"]
    z, y, settings = torch.randn(2, 4, 4, 4), torch.tensor([0, 2]), Settings(solver="ddim", steps=3)
    one, two = (each.decode(sample(each, z, y, settings).z) for each in (denoiser, read))
    assert torch.equal(one, two)
    assert one.shape == (2, *DATA.shape)
    theirs = diffusers.AutoencoderKL.from_pretrained(tmp_path / "denoiser" / "autoencoder")
    assert theirs.config.scaling_factor == denoiser.codec.scale
    assert same(theirs.state_dict(), denoiser.codec.vae.state_dict())
    assert 'AutoencoderKL.from_pretrained("autoencoder")' in (tmp_path / "denoiser" / "README.md").read_text()
    assert denoiser.stored_bytes > sum(4 * p.numel() for p in denoiser.net.parameters())


def test_the_autoencoder_is_in_the_digest(denoiser):
    before = digest(denoiser)
    scale, denoiser.codec.scale = denoiser.codec.scale, 2 * denoiser.codec.scale
    after, denoiser.codec.scale = digest(denoiser), scale
    assert before != after
    assert "autoencoder" not in replace(CONFIG, autoencoder=None).to_json()


def test_a_folder_without_its_autoencoder_is_refused(denoiser, tmp_path):
    denoiser.save(tmp_path)
    place = tmp_path / "denoiser" / "autoencoder"
    (place / "diffusion_pytorch_model.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"diffusion_pytorch_model.safetensors cannot be read .*it is not whole"):
        load_denoiser(tmp_path, DATA.classes)
    (place / "config.json").unlink()
    with pytest.raises(InputError, match=r"autoencoder/config.json.*it is not whole"):
        load_denoiser(tmp_path, DATA.classes)


def test_tensors_make_another_denoiser_the_same(denoiser):
    other = build_denoiser(CONFIG, torch.Generator().manual_seed(5))
    assert digest(other) != digest(denoiser)
    other.load_tensors(denoiser.tensors())
    assert digest(other) == digest(denoiser)


def test_guidance_goes_back_through_the_decoder(denoiser):
    """A guided step against one written out, its gradient from autograd."""
    energy, t = ToyEnergy(3, DATA.shape, torch.float32), 0  # the one step of one
    y, z = torch.tensor([1, 2]), torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    guided = Settings(solver="ddim", steps=1, cfg=2.0, guidance=Guidance(influence=True, k=5000.0, fraction=(0.0, 1.0)))
    found = sample(denoiser, z, y, guided, Steering(energy, denoiser.decode)).z
    plain = sample(denoiser, z, y, replace(guided, guidance=Guidance())).z
    moved = z.clone().requires_grad_()
    clean, eps = denoiser.predict(moved, t, y, cfg=2.0)
    (gradient,) = torch.autograd.grad(energy.energy(denoiser.decode(clean), y).sum(), moved)
    norms = [each.detach().flatten(1).norm(dim=1).view(-1, 1, 1, 1) for each in (eps, gradient)]
    rho = 0.002 * 5000 * float(1 - denoiser.abar[t]) ** 0.5 * norms[0] / norms[1]
    torch.testing.assert_close(plain - found, rho * gradient, rtol=1e-3, atol=1e-5)
    assert float((plain - found).abs().max()) > 1e-4


def test_numbers_that_are_no_longer_finite_end_it():
    wild = replace(TRAINED, autoencoder=replace(TRAINED.autoencoder, lr=1e30))
    with pytest.raises(RunError, match="training of the autoencoder diverged"):
        list(work(wild).steps())


def test_json_keeps_it():
    stored = json.loads(json.dumps(TRAINED.to_json()))
    assert denoiser_from(stored) == TRAINED
    assert "autoencoder" not in Trained(replace(CONFIG, autoencoder=None), TRAINED.settings).to_json()
    short = TRAINED.shortened(2, 3)
    assert [(each.iterations, each.batch) for each in (short.settings, short.autoencoder)] == [(2, 3), (2, 3)]


def test_a_part_by_itself_is_measured_for_an_estimate():
    first, second = work().parts()
    assert next(second.steps()).loss > 0
    assert next(first.steps()).reconstruction > 0


@pytest.mark.parametrize(("side", "z"), [(64, None), (95, None), (96, (4, 24, 24)), (98, None), (256, (4, 32, 32))])
@pytest.mark.parametrize("kind", ["dit", "unet"])
def test_auto_takes_latents_from_96_pixels_up(side, z, kind):
    data = tiny_dataset((1, 1), (3, side, side))
    made = denoiser_of(SamplingOptions(denoiser=kind), data, "cpu")
    assert (made.autoencoder is None, made.config.autoencoder is None) == (z is None, z is None)
    assert made.config.noised == (z or data.shape)
    assert denoiser_of(SamplingOptions(denoiser=kind, space="pixels"), data, "cpu").config.noised == data.shape


def test_sizes_follow_the_latents():
    shape = (3, 256, 256)
    small, large = autoencoder_defaults(shape)[0], autoencoder_defaults(shape, "paper")[0]
    assert (small.factor, large.factor, large.width) == (8, 8, 128)
    assert denoising_defaults(shape, CONFIG.classes, "cpu", "dit", small)[0].patch == 4
    assert denoising_defaults(shape, CONFIG.classes, "paper", "dit", large)[0].patch == 2
    assert denoising_defaults((3, 32, 32), CONFIG.classes, autoencoder=small)[0].depth == 3


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"space": "latents"}, "space='?latents'?: images of 8 x 8 pixels are too small for latents, which begin at 32"),
        ({"autoencoder_iterations": 3}, "autoencoder_iterations is for a denoiser of latents, this one works on pixels"),
        ({"denoiser": "some/folder", "space": "pixels"}, "space is for a denoiser that is trained first"),
    ],
)
def test_what_means_nothing_is_refused(asked, said):
    with pytest.raises(InputError, match=said):
        denoiser_of(SamplingOptions(**asked), tiny_dataset((1, 1)), "cpu")


def test_without_diffusers_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setattr("refluence.generate.extra.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"a denoiser of latents \(space.*pixels.* does without\) needs diffusers"):
        autoencoder_of(SamplingOptions(), (3, 96, 96), "cpu")
    assert autoencoder_of(SamplingOptions(space="pixels"), (3, 96, 96), "cpu") == (None, None)
