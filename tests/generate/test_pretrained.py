"""A DiT and an autoencoder as diffusers saves them, without training: what is loaded, called, noised and decoded."""

import json
import re
import sys
import warnings
from dataclasses import replace

import pytest
import torch

from refluence.compute import Compute
from refluence.errors import InputError
from refluence.generate import latent, pretrained
from refluence.generate.denoiser import NO_NULL, digest
from refluence.generate.denoiser_folder import load_denoiser
from refluence.generate.imagenet import class_ids, imagenet_names
from refluence.generate.noising import noised
from refluence.generate.pretrained import is_pretrained, load_pretrained
from refluence.generate.settings import Guidance, Settings
from refluence.generate.work import SamplingWork
from refluence.seeds import streams
from support.diffusers_folders import save_pipeline
from support.diffusion import tiny_surrogate
from support.tiny_data import tiny_dataset

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:the weights of")
CLASSES = ("tench", "n02102040", "Golden_Retriever")
IDS = (0, 217, 207)


def pipeline(folder, **how):
    return save_pipeline(diffusers, folder, **how)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dit")
    return folder, pipeline(folder)


def noise(count, generator=0):
    return torch.randn(count, 4, 4, 4, generator=torch.Generator().manual_seed(generator))


def test_classes_sizes_and_schedule_are_those_of_the_folder(saved):
    denoiser = load_denoiser(saved[0], CLASSES, (3, 8, 8))
    assert denoiser.labels == IDS
    assert denoiser.null_label == 1000
    assert (denoiser.config.shape, denoiser.shape) == ((3, 8, 8), (4, 4, 4))
    torch.testing.assert_close(denoiser.abar, saved[1].scheduler.alphas_cumprod.double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_the_first_channels_are_eps_guided_as_the_pipeline_does(saved, cfg):
    denoiser, theirs, z = load_denoiser(saved[0], CLASSES), saved[1].transformer.eval(), noise(2)
    y = torch.tensor([2, 0])
    z0, eps = denoiser.predict(z, 421, y, cfg)
    with torch.no_grad():
        of_y, of_null = (
            theirs(z, torch.full((2,), 421), label).sample[:, :4] for label in (y.new_tensor([207, 0]), y * 0 + 1000)
        )
    torch.testing.assert_close(eps, of_null + cfg * (of_y - of_null), rtol=1e-4, atol=1e-5)
    abar = saved[1].scheduler.alphas_cumprod[421]
    torch.testing.assert_close(z0, (z - (1 - abar).sqrt() * eps) / abar.sqrt(), rtol=1e-4, atol=1e-4)


def test_no_label_is_dropped_in_training_mode(saved):
    denoiser, z = load_denoiser(saved[0], CLASSES), noise(40)
    y = torch.zeros(40, dtype=torch.int64)
    still = denoiser.predict(z, 500, y)[1]
    denoiser.net.train()
    assert torch.equal(denoiser.predict(z, 500, y)[1], still)


def test_pixels_go_through_the_autoencoder_and_gradients_come_back(saved):
    denoiser, vae, z = load_denoiser(saved[0], CLASSES), saved[1].vae.eval(), noise(3).requires_grad_()
    pixels = denoiser.decode(z)
    assert pixels.shape == (3, 3, 8, 8)
    torch.testing.assert_close(pixels, vae.decode(z / 0.18215).sample / 2 + 0.5)
    (slope,) = torch.autograd.grad(pixels.sum(), z)
    assert slope.abs().sum(dim=(1, 2, 3)).min() > 0
    torch.testing.assert_close(denoiser.encode(pixels), vae.encode(2 * pixels - 1).latent_dist.mean * 0.18215)


def test_more_images_than_fit_at_once_are_decoded_in_chunks(saved, monkeypatch):
    denoiser, z = load_denoiser(saved[0], CLASSES), noise(5).requires_grad_()
    whole = denoiser.decode(z)
    (slope,) = torch.autograd.grad(whole.square().sum(), z)
    counts = []
    decode = denoiser.codec.vae.decode
    monkeypatch.setattr(latent, "AT_ONCE", 2 * 64)
    monkeypatch.setattr(denoiser.codec.vae, "decode", lambda x: counts.append(len(x)) or decode(x))
    cut = denoiser.decode(z)
    torch.testing.assert_close(cut, whole)
    torch.testing.assert_close(torch.autograd.grad(cut.square().sum(), z)[0], slope)
    assert counts == [2, 2, 1, 1, 2, 2], "forward, and once more for the backward pass"


def test_a_moved_denoiser_is_saved_beside_its_source_and_read_again(saved, tmp_path):
    denoiser = load_denoiser(saved[0], CLASSES)
    denoiser.load_state({name: t + 0.01 for name, t in denoiser.state().items()})
    denoiser.method = "minimax"
    denoiser.save(tmp_path)
    again = load_denoiser(tmp_path, ("tench", "Golden_Retriever"))
    assert (again.method, again.labels, again.null_label) == ("minimax", (0, 207), 1000)
    assert digest(load_denoiser(tmp_path, CLASSES)) == digest(denoiser)
    assert torch.equal(again.predict(noise(1), 9, torch.tensor([1]))[0], denoiser.predict(noise(1), 9, torch.tensor([2]))[0])
    torch.testing.assert_close(again.decode(noise(1)), denoiser.decode(noise(1)))


def test_another_autoencoder_or_schedule_is_another_digest(saved):
    digests = {digest(load_denoiser(saved[0], CLASSES))}
    for change in (lambda d: d.codec.vae.decoder.conv_out.bias.add_(1), lambda d: d.abar.mul_(0.99)):
        denoiser = load_denoiser(saved[0], CLASSES)
        change(denoiser)
        digests.add(digest(denoiser))
    denoiser = load_denoiser(saved[0], CLASSES)
    denoiser.codec.scale *= 2
    digests |= {digest(denoiser), digest(replace(denoiser, null=999)), digest(load_denoiser(saved[0], CLASSES[::-1]))}
    assert len(digests) == 6


def test_half_precision_keeps_z_in_single(saved):
    denoiser, z = load_denoiser(saved[0], CLASSES), noise(2)
    with torch.autocast("cpu", torch.bfloat16):
        z0, eps = denoiser.predict(z, 300, torch.tensor([0, 1]), 2.0)
    assert z0.isfinite().all()
    torch.testing.assert_close(eps.float(), denoiser.predict(z, 300, torch.tensor([0, 1]), 2.0)[1], rtol=0.1, atol=0.1)


def test_betas_of_another_scheduler_are_used(tmp_path):
    pipe = pipeline(tmp_path, beta_schedule="scaled_linear", beta_end=0.012)
    abar = load_denoiser(tmp_path, CLASSES).abar
    torch.testing.assert_close(abar, pipe.scheduler.alphas_cumprod.double(), rtol=1e-6, atol=0)
    pipeline(tmp_path, prediction_type="v_prediction")
    assert load_denoiser(tmp_path, CLASSES).config.prediction == "v"
    pipeline(tmp_path, prediction_type="sample")
    with pytest.raises(InputError, match="predicts sample: epsilon or v_prediction"):
        load_denoiser(tmp_path, CLASSES)


def test_a_set_is_sampled_with_guidance_through_the_autoencoder(saved, tmp_path):
    data = replace(tiny_dataset((6, 5, 4), (3, 8, 8)), classes=CLASSES)
    denoiser, guidance = load_denoiser(saved[0], CLASSES, data.shape), Guidance(influence=True, deviation=True, k=50.0)
    denoiser.card["licence"] = "CC-BY-NC-4.0"
    settings, found = Settings(cfg=2.0, steps=6, batch=2), []
    for steered in (Guidance(), guidance, replace(guidance, through=False)):
        asked = replace(settings, guidance=steered)
        work = SamplingWork(asked, denoiser, tiny_surrogate(data), data, (2, 1, 1), streams(0), Compute())
        list(work.steps())
        found.append(work.result())
    images = [result.artifact.images for result in found]
    assert images[0].shape == (4, 3, 8, 8)
    assert not any(torch.equal(a, b) for a, b in ((images[0], images[1]), (images[1], images[2])))
    assert found[1].card["guided_steps"]
    assert found[1].card["denoiser"]["licence"] == "CC-BY-NC-4.0"
    found[1].artifact.save(tmp_path, found[1].card)
    assert "sampled from is under CC-BY-NC-4.0" in (tmp_path / "distilled" / "README.md").read_text()


# licence


def test_the_licence_of_dit_is_said_and_kept(saved, tmp_path):
    folder = tmp_path / "facebook" / "DiT-small"
    pipeline(folder)
    with pytest.warns(UserWarning, match=re.escape(f"the weights of {folder} are under CC-BY-NC-4.0")):
        denoiser = load_denoiser(folder, CLASSES)
    denoiser.save(tmp_path / "out")
    assert json.loads((tmp_path / "out/denoiser/card.json").read_text())["licence"] == "CC-BY-NC-4.0"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "licence" not in load_denoiser(saved[0], CLASSES).card


def test_the_licence_of_a_readme_counts(tmp_path):
    pipeline(tmp_path)
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\nA model.\n")
    with pytest.warns(UserWarning, match="are under APACHE-2.0"):
        assert load_denoiser(tmp_path, CLASSES).card["licence"] == "APACHE-2.0"


# classes


def test_any_number_of_classes_is_found_by_wnid_or_name():
    known = imagenet_names()
    assert class_ids(["crane bird", "maillot", "Crane", "cassette player", "n03888257"], known, "DiT") == (
        134,
        638,
        517,
        482,
        701,
    )
    assert class_ids([name.split(",")[0] for name in known.values() if name.split(",")[0].lower() != "cardigan"], known, "DiT")
    assert class_ids(["Tinca tinca", "tench, Tinca tinca"], {0: "tench, Tinca tinca"}, "DiT") == (0, 0)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("tensch", "class 'tensch' is none of the 1000 that DiT knows: did you mean tench"),
        ("n99999999", "class 'n99999999' is none"),
        ("3", "class '3' is none"),
        ("cardigan", r"class 'cardigan' may be .*\(264\).*\(474\) of DiT: give its wnid"),
    ],
)
def test_a_class_that_is_not_known_is_one_line(name, match):
    with pytest.raises(InputError, match=match):
        class_ids([name], imagenet_names(), "DiT")


def test_without_timm_names_are_found_and_wnids_say_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.data", None)
    assert class_ids(["tench", "golden retriever"], imagenet_names(), "DiT") == (0, 207)
    with pytest.raises(InputError, match=re.escape("class 'n01440764': wnids are read by timm")):
        class_ids(["n01440764"], imagenet_names(), "DiT")


def test_classes_without_names_are_taken_in_order_where_they_are_as_many(tmp_path):
    pipeline(tmp_path, classes=2)
    denoiser = load_denoiser(tmp_path, ("a", "b"))
    assert (denoiser.labels, denoiser.null_label) == ((0, 1), 2)
    with pytest.raises(InputError, match="has 2 classes and no names of them"):
        load_denoiser(tmp_path, ("a", "b", "c"))
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "id2label": {"0": "cat, puss", "1": "owl"}}))
    assert load_denoiser(tmp_path, ("owl", "Puss")).labels == (1, 0)


# a UNet alone


def test_a_unet_with_class_embeddings_is_a_denoiser(tmp_path):
    sizes = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "num_class_embeds": 3}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(sample_size=6, in_channels=1, out_channels=1, **sizes, **blocks)
    net.save_pretrained(tmp_path)
    denoiser, z = load_denoiser(tmp_path, ("a", "b"), (1, 6, 6)), torch.randn(2, 1, 6, 6)
    eps = denoiser.predict(z, 40, torch.tensor([1, 0]))[1]
    torch.testing.assert_close(eps, net(z, 40, torch.tensor([1, 0])).sample)
    with pytest.raises(InputError, match="has num_class_embeds 3, and these data have 1 classes: without names"):
        load_denoiser(tmp_path, ("a",))
    denoiser.save(tmp_path / "own")
    assert load_denoiser(tmp_path / "own", ("b", "a")).labels == (1, 0)

    without_null = load_denoiser(tmp_path, ("a", "b", "c"))
    assert torch.equal(without_null.predict(z, 40, torch.tensor([1, 0]))[1], eps)
    with pytest.raises(InputError, match="knows no images without a class, so it cannot be guided: cfg=1 asks for none"):
        without_null.predict(z, 40, torch.tensor([1, 0]), 2.0)
    with pytest.raises(InputError, match="knows no images without a class"):
        without_null.predict(z, 40, None)
    data = tiny_dataset((6, 5, 4), (1, 6, 6))
    assert (
        noised(without_null, data.train, torch.arange(9), 1.0, torch.Generator(), z.device).label == data.train.labels[:9]
    ).all()


def test_a_label_means_no_class_only_where_a_folder_says_so(tmp_path):
    sizes = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "num_class_embeds": 3}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    diffusers.UNet2DModel(sample_size=8, **sizes, **blocks).save_pretrained(tmp_path)
    plain = json.loads((tmp_path / "config.json").read_text())

    def read(classes, **said):
        (tmp_path / "config.json").write_text(json.dumps({**plain, **said}))
        found = load_denoiser(tmp_path, classes)
        return found.labels, found.null

    unsaid = r"does not name its classes \(id2label\): 0 for 'a', 1 for 'b', in the order of the data; whether 2 .* at cfg=1"
    with pytest.warns(UserWarning, match=unsaid):
        assert read(("a", "b")) == ((0, 1), NO_NULL)
    with pytest.warns(UserWarning, match="1 for 'a', 2 for 'b', in the order of the data$"):
        assert read(("a", "b"), null_label=0) == ((1, 2), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(("b", "a"), id2label={"0": "a", "1": "b"}) == ((1, 0), 2)
        assert read(("c", "a"), id2label={"0": "a", "1": "b", "2": "c"}) == ((2, 0), NO_NULL)
        assert read(("b",), id2label={"0": "a", "1": "b", "2": "none"}, null_label=2) == ((1,), 2)
    with pytest.raises(InputError, match="has null_label 3: it must be a label from 0 to 2"):
        read(("a", "b"), null_label=3)


# bad input


def test_another_size_names_both_and_the_option(saved):
    with pytest.raises(InputError, match=r"makes images of 3 x 8 x 8, the data have 3 x 32 x 32: image_size=8 reads them so"):
        load_denoiser(saved[0], CLASSES, (3, 32, 32))
    with pytest.raises(InputError, match="it needs images of 3 channels"):
        load_denoiser(saved[0], CLASSES, (1, 8, 8))


def test_a_broken_folder_is_one_line(tmp_path):
    pipeline(tmp_path)
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be loaded by diffusers") as error:
        load_denoiser(tmp_path, CLASSES)
    assert "\n" not in str(error.value)


def test_weights_without_safetensors_are_fetched_and_read_without_running_code(tmp_path, monkeypatch):
    torch.save(object(), tmp_path / "harmful")
    pipeline(tmp_path / "hub").save_pretrained(tmp_path / "bin", safe_serialization=False)
    asked = []
    monkeypatch.setattr(pretrained, "fetched", lambda name, flag, wanted: asked.append((name, wanted)) or tmp_path / "bin")
    denoiser = load_denoiser("hf:someone/some-dit", CLASSES)
    assert asked == [("someone/some-dit", pretrained.WANTED), ("someone/some-dit", (*pretrained.WANTED, "*.bin"))]
    assert denoiser.config.source == "hf:someone/some-dit"
    assert torch.equal(
        denoiser.predict(noise(1), 3, None)[1], load_denoiser(tmp_path / "hub", CLASSES).predict(noise(1), 3, None)[1]
    )
    (tmp_path / "bin" / "vae" / "diffusion_pytorch_model.bin").write_bytes((tmp_path / "harmful").read_bytes())
    with pytest.raises(InputError, match="cannot be loaded by diffusers"):
        load_denoiser("hf:someone/some-dit", CLASSES)


def test_a_name_that_the_hub_does_not_give_is_one_line(monkeypatch):
    monkeypatch.setattr("refluence.models.hub.reached", lambda name: False)
    assert is_pretrained("nobody/no-such-model")
    with pytest.raises(
        InputError,
        match=r"hf:nobody/no-such-model: there is no such folder, and the Hub",
    ):
        load_pretrained("nobody/no-such-model", CLASSES)


def test_without_diffusers_the_extra_is_named(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=re.escape("pip install refluence[generate]")):
        load_denoiser(saved[0], CLASSES)
