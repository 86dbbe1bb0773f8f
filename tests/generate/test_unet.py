"""diffusers' UNet2DModel as a denoiser's network: any size, a null class, and a folder that diffusers itself loads."""

import json

import pytest
import torch

from refluence.compute import Compute
from refluence.errors import InputError
from refluence.files import write_json, write_tensors
from refluence.generate.denoiser import build_denoiser, digest
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.denoiser_folder import load_denoiser
from refluence.generate.training import DenoiserSettings, DenoiserWork
from refluence.generate.unet import INDEX, config_of, index, read_unet, unet, unet_sizes
from refluence.randomness import seeded
from refluence.seeds import streams
from support.tiny_data import tiny_dataset

diffusers = pytest.importorskip("diffusers")
SIZES = {"width": 8, "depth": 2, "heads": 2}


def small(shape=(1, 8, 8), classes=3):
    with seeded(0):
        return unet(shape, classes, **SIZES)


def given(net, shape, y):
    torch.nn.init.normal_(net.conv_out.weight, generator=torch.Generator().manual_seed(1))
    z = torch.randn(len(y), *shape, generator=torch.Generator().manual_seed(2))
    return z, net(z, torch.tensor([10.0, 900.5]), torch.tensor(y))


def test_a_new_network_gives_zeros_and_the_same_for_the_same_seed():
    net, other = small(), small()
    assert torch.equal(net(torch.randn(2, 1, 8, 8), torch.tensor([0.0, 999.0]), torch.tensor([0, 3])), torch.zeros(2, 1, 8, 8))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def test_label_and_time_matter_and_the_null_class_has_an_embedding():
    net = small()
    _, of_null = given(net, (1, 8, 8), [3, 3])
    z, of_first = given(net, (1, 8, 8), [0, 0])
    assert not torch.allclose(of_null, of_first)
    assert not torch.allclose(net(z, torch.tensor([500.0, 900.5]), torch.tensor([0, 0]))[0], of_first[0])


def test_a_size_that_does_not_divide_is_padded_and_cut():
    shape = (3, 7, 10)
    z, out = given(small(shape), shape, [0, 1])
    assert out.shape == (2, *shape)
    net = small(shape)
    _, again = given(net, shape, [0, 1])
    padded = torch.cat((z, z[:, :, -1:]), 2)
    assert torch.allclose(net(padded, torch.tensor([10.0, 900.5]), torch.tensor([0, 1]))[:, :, :7], again, atol=1e-6)


def test_diffusers_itself_loads_a_folder_that_has_its_index(tmp_path):
    net = small()
    z, out = given(net, (1, 8, 8), [0, 3])
    write_tensors(tmp_path / "model.safetensors", net.state_dict())
    write_json(tmp_path / "config.json", {"kind": "unet", "shape": [1, 8, 8], **config_of(net)})
    write_json(tmp_path / INDEX, index(net.state_dict(), "model.safetensors"))
    theirs = diffusers.UNet2DModel.from_pretrained(tmp_path)
    assert type(theirs) is diffusers.UNet2DModel
    assert torch.equal(theirs(z, torch.tensor([10.0, 900.5]), torch.tensor([0, 3])).sample, out)
    assert torch.equal(read_unet(tmp_path)(z, torch.tensor([10.0, 900.5]), torch.tensor([0, 3])), out)
    assert json.loads((tmp_path / INDEX).read_text())["metadata"]["total_size"] == sum(4 * p.numel() for p in net.parameters())


def test_a_denoiser_of_kind_unet_is_saved_so_that_both_load_it(tmp_path):
    denoiser = build_denoiser(DenoiserConfig((1, 8, 8), ("a", "b"), kind="unet", **SIZES), torch.Generator().manual_seed(0))
    denoiser.load_state({name: t + 0.01 for name, t in denoiser.state().items()})
    denoiser.save(tmp_path)
    z, y = torch.randn(2, 1, 8, 8), torch.tensor([1, 0])
    again = load_denoiser(tmp_path, ("b", "a"))
    assert torch.equal(again.predict(z, 700, 1 - y, 2.0)[0], denoiser.predict(z, 700, y, 2.0)[0])
    assert diffusers.UNet2DModel.from_pretrained(tmp_path / "denoiser").config.num_class_embeds == 3
    assert digest(load_denoiser(tmp_path, ("a", "b"))) == digest(denoiser)


def test_it_trains_as_any_denoiser_and_resumes_to_the_same_bits():
    data = tiny_dataset((6, 5), (1, 8, 8))
    config = DenoiserConfig(data.shape, data.classes, kind="unet", **SIZES)
    whole, second = (
        DenoiserWork(config, DenoiserSettings(iterations=40, batch=4), data, streams(0), Compute()) for _ in range(2)
    )
    steps = whole.steps()
    next(steps)
    second.restore({name: tensor.clone() for name, tensor in whole.state().items()})
    assert next(steps) == next(second.steps())
    assert digest(whole.artifact()) == digest(second.artifact())


@pytest.mark.parametrize(("side", "depth"), [(8, 2), (16, 2), (28, 3), (32, 3), (64, 4), (96, 4), (224, 6)])
def test_the_coarsest_stage_has_seven_pixels_or_more(side, depth):
    width, stages, heads = unet_sizes((3, side, side), "cpu")
    assert (width, stages, heads) == (32, depth, 4)
    assert unet_sizes((3, side, side), "paper") == (128, depth, 4)
    assert side < 14 or side / 2 ** (stages - 1) >= 7


@pytest.mark.parametrize("wrong", [{"width": 6}, {"heads": 3}, {"depth": 0}])
def test_sizes_that_fit_no_network_are_one_line(wrong):
    with pytest.raises(InputError, match="a unet of width"):
        unet((1, 8, 8), 3, **{**SIZES, **wrong})
