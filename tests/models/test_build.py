"""Networks by name: the published sizes, the same weights for the same generator, errors that say what would fit."""

import pytest
import torch

from refluence.errors import InputError
from refluence.models import ModelSpec, build, width_beside
from refluence.models.convnet import ConvNet, default_depth
from refluence.options import NORMS
from support.draws import generator

CIFAR = ModelSpec("convnet3", (3, 32, 32), 10, width=128)


def test_the_published_network_has_its_published_size():
    net = build(CIFAR, generator())
    assert sum(p.numel() for p in net.parameters()) == 320_010
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in net.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert [c.weight.shape for c in convolutions] == [(128, 3, 3, 3), (128, 128, 3, 3), (128, 128, 3, 3)]
    assert [(n.num_groups, n.affine) for n in norms] == [(128, True)] * 3
    assert net.classifier.in_features == 128 * 4 * 4
    assert net.training


def test_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(CIFAR.with_(width=8), generator(5)).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "the global state is left alone"
    torch.manual_seed(2)
    again = build(CIFAR.with_(width=8), generator(5)).state_dict()
    other = build(CIFAR.with_(width=8), generator(6)).state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


@pytest.mark.parametrize("norm", NORMS)
def test_initialisation_is_pytorchs_own(norm):
    net = build(CIFAR.with_(norm=norm, width=64), generator())
    for module in net.requires_grad_(False).modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            bound = module.weight[0].numel() ** -0.5
            assert bound * 0.98 < float(module.weight.abs().max()) <= bound * (1 + 1e-6)
            assert float(module.weight.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
            assert float(module.bias.abs().max()) <= bound * (1 + 1e-6)
        elif isinstance(module, (torch.nn.GroupNorm, torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.bias, torch.zeros_like(module.bias))
        if isinstance(module, torch.nn.BatchNorm2d):
            assert torch.equal(module.running_mean, torch.zeros(64))
            assert torch.equal(module.running_var, torch.ones(64))


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_trains(norm):
    net = build(ModelSpec("convnet", (3, 16, 12), 5, width=6, norm=norm), generator())
    x = torch.randn(4, 3, 16, 12, generator=generator(1))
    logits = net(x)
    assert logits.shape == (4, 5)
    assert torch.equal(net.classifier(net.features(x)), logits) or norm == "batch"
    logits.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_instance_norm_is_the_one_of_pytorch():
    net = build(ModelSpec("convnet1", (1, 8, 8), 2, width=4), generator())
    h = net.body[0](torch.randn(3, 1, 8, 8, generator=generator(1)))
    torch.testing.assert_close(net.body[1](h), torch.nn.functional.instance_norm(h))


def test_layer_norm_has_a_parameter_for_each_value_of_a_map():
    net = build(ModelSpec("convnet2", (3, 8, 12), 2, width=4, norm="layer"), generator())
    assert [m.weight.shape for m in net.modules() if isinstance(m, torch.nn.LayerNorm)] == [(4, 8, 12), (4, 4, 6)]
    h = net.body[1](torch.randn(2, 4, 8, 12, generator=generator(1)))
    torch.testing.assert_close(h.mean((1, 2, 3)), torch.zeros(2), rtol=0, atol=1e-6)


def test_28_pixels_of_grey_are_padded_to_32():
    net = build(ModelSpec("convnet3", (1, 28, 28), 10, width=8), generator())
    assert net.body[0](torch.zeros(1, 1, 28, 28)).shape == (1, 8, 32, 32)
    assert net.classifier.in_features == 8 * 4 * 4
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    colour = build(ModelSpec("convnet3", (3, 28, 28), 10, width=8), generator())
    assert colour.body[0](torch.zeros(1, 3, 28, 28)).shape == (1, 8, 28, 28)


@pytest.mark.parametrize(
    ("size", "depth"),
    [(1, 1), (4, 1), (8, 1), (15, 1), (16, 2), (28, 2), (32, 3), (64, 4), (96, 4), (128, 5), (256, 6), (512, 6)],
)
def test_default_depth(size, depth):
    assert default_depth(size) == depth
    if size > 1:
        assert ModelSpec("convnet", (3, size, size + 3), 2).name == f"convnet{depth}"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "convnet6"}, "depth 6 does not fit a 32x32 image: 1 to 5 would, 3 is the default"),
        ({"name": "convnet0"}, "depth 0 does not fit"),
        ({"name": "convnet4", "shape": (1, 8, 40)}, "depth 4 does not fit a 8x40 image: 1 to 3 would, 1 is the default"),
        ({"name": "convnet", "shape": (1, 1, 1)}, "images of 1x1 are too small for a ConvNet: image_size=2 or more"),
        ({"name": "convnet1", "shape": (1, 1, 9)}, "images of 1x9 are too small"),
        ({"name": "resnet"}, "unknown model 'resnet': did you mean resnet8?"),
        ({"name": "convnet-3"}, "unknown model"),
        ({"norm": "weight"}, "unknown norm 'weight': choose one of instance, group, batch, layer, none"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_networks_that_cannot_be_are_refused_before_they_are_built(change, expected):
    with pytest.raises(InputError) as caught:
        CIFAR.with_(**change)
    assert expected in str(caught.value)


def test_the_class_itself_refuses_too():
    with pytest.raises(InputError, match="depth 6"):
        ConvNet(3, (32, 32), 10, depth=6)
    with pytest.raises(InputError, match="unknown norm"):
        ConvNet(3, (32, 32), 10, norm="weight")


def test_what_is_left_open_is_what_is_published():
    assert ModelSpec("convnet3", (3, 32, 32), 10) == CIFAR
    assert (CIFAR.width, CIFAR.norm) == (128, "instance")


@pytest.mark.parametrize(
    ("own", "change", "expected"),
    [
        (("convnet1", 32, "group"), ("convnet2", None, None), ("convnet2", 32, "group")),
        (("convnet1", 32, "group"), (None, 8, None), ("convnet1", 8, "group")),
        (("convnet1", 128, "group"), ("resnet10", None, None), ("resnet10", 64, "batch")),
        (("convnet1", 32, "none"), ("resnetap10", None, None), ("resnetap10", 16, "instance")),
        (("convnet1", 1, "none"), ("resnet18", None, "none"), ("resnet18", 1, "none")),
        (("resnet10", 16, "group"), ("resnet18", None, None), ("resnet18", 16, "group")),
        (("resnet10", 16, "group"), ("resnetap10", None, None), ("resnetap10", 16, "instance")),
        (("resnet18", 16, "batch"), ("convnet", None, None), ("convnet2", 32, "instance")),
        (("convnet1", 32, "group"), ("torchvision:shufflenet_v2_x0_5", None, None),
         ("torchvision:shufflenet_v2_x0_5", 1024, "batch")),
        (("torchvision:shufflenet_v2_x0_5", None, None), ("resnet10", None, None), ("resnet10", 64, "batch")),
        (("torchvision:shufflenet_v2_x0_5", None, None), (None, None, None), ("torchvision:shufflenet_v2_x0_5", 1024, "batch")),
    ],
)  # fmt: skip
def test_another_network_for_the_same_images(own, change, expected):
    found = ModelSpec(own[0], (3, 16, 16), 4, *own[1:]).other(*change)
    assert (found.name, found.width, found.norm) == expected
    assert (found.shape, found.classes) == ((3, 16, 16), 4)


def test_the_width_beside_a_convnet_has_the_same_share_of_the_published_one():
    assert [width_beside(name, 32) for name in ("convnet", "convnet3", "resnet18", "timm:x")] == [32, 32, 16, None]
    assert width_beside("resnet10", 128) == 64
    with pytest.raises(InputError, match="unknown model 'vgg'"):
        width_beside("vgg", 32)
