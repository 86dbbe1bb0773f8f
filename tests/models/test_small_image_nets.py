"""The networks of the distillation literature: published sizes, their parts, initialisation, exact influence, refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from refluence.errors import InputError
from refluence.influence import capture
from refluence.models import ModelSpec, another, build, network, read_name, width_beside
from refluence.models.families import MODELS, family
from refluence.models.shufflenet import shuffle
from support.draws import generator

SIZES = {  # parameters for 100 classes, counted in CRD's code
    "resnet8": 83_892, "resnet20": 278_324, "resnet32": 472_756, "resnet56": 861_620, "resnet110": 1_736_564,
    "resnet8x4": 1_233_540, "resnet32x4": 7_433_860, "wrn-16-2": 703_284, "wrn-28-2": 1_479_220, "wrn-40-1": 569_780,
    "wrn-40-2": 2_255_156, "vgg8": 3_965_028, "vgg11": 9_277_284, "vgg13": 9_462_180, "vgg16": 14_774_436,
    "vgg19": 20_086_692, "mobilenetv2": 812_836, "shufflenetv1": 949_258, "shufflenetv2": 1_355_528,
}  # fmt: skip
TINY = {"resnet8": 2, "resnet8x4": 4, "wrn-10-1": 2, "vgg8": 2, "mobilenetv2": 2, "shufflenetv1": 36, "shufflenetv2": 4}


def tiny(name, shape=(3, 16, 16), norm="batch", seed=0):
    return build(ModelSpec(name, shape, 3, TINY[name], norm), generator(seed))


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name):
    spec = ModelSpec(name, (3, 32, 32), 100)
    assert spec.norm == "batch"
    with torch.device("meta"):
        net = family(name).make(name, spec.shape, 100, spec.width, spec.norm)
    assert sum(p.numel() for p in net.parameters()) == SIZES[name]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", TINY)
def test_logits_are_the_classifier_of_the_features(name, channels):
    net = tiny(name, (channels, 16, 20))
    assert net.training
    x = torch.randn(4, channels, 16, 20, generator=generator(1))
    net(x).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
    features = net.eval().features(x)
    assert features.shape == (4, net.classifier.in_features)
    assert torch.equal(net(x), net.classifier(features))
    assert net(x).shape == (4, 3)


@pytest.mark.parametrize(
    ("name", "side", "last"),
    [("resnet8", 32, 8), ("resnet32x4", 32, 8), ("wrn-16-2", 32, 8), ("vgg8", 32, 4), ("vgg8", 64, 4), ("mobilenetv2", 32, 2),
     ("shufflenetv1", 32, 4), ("shufflenetv2", 32, 4)],
)  # fmt: skip
def test_the_last_maps_are_those_that_the_published_average_takes(name, side, last):
    net = build(ModelSpec(name, (3, side, side), 2, {"shufflenetv1": 36}.get(name, 2)), generator()).eval()
    assert net.body(torch.zeros(1, 3, side, side)).shape[2:] == (last, last)


def test_a_shuffle_deals_the_groups_out():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(shuffle(shuffle(x, 3), 2), x)


@pytest.mark.parametrize("name", TINY)
def test_weights_come_from_the_generator_alone(name):
    before = torch.get_rng_state()
    first, again, other = (tiny(name, seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["body.0.weight"], other["body.0.weight"])


def test_initialisation_is_that_of_the_published_code():
    vgg = build(ModelSpec("vgg8", (3, 8, 8), 50, width=32), generator()).requires_grad_(False)
    convolutions = [m for m in vgg.modules() if isinstance(m, nn.Conv2d)]
    assert float(convolutions[-1].weight.std()) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert all(not m.bias.any() for m in [*convolutions, vgg.classifier])
    assert float(vgg.classifier.weight.std()) == pytest.approx(0.01, rel=0.05)
    wide = build(ModelSpec("wrn-10-1", (3, 8, 8), 50), generator()).requires_grad_(False)
    assert not wide.classifier.bias.any()
    assert float(wide.classifier.weight.abs().max()) <= 64**-0.5
    assert build(ModelSpec("resnet8", (3, 8, 8), 50), generator()).classifier.bias.any()
    depthwise = [m for m in tiny("shufflenetv2").requires_grad_(False).modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert all(float(m.weight.abs().max()) <= 1 / 3 for m in depthwise), "uniform by fan-in"


@pytest.mark.parametrize(
    ("name", "norm"),
    [*((name, "batch") for name in TINY), ("mobilenetv2", "group"), ("shufflenetv1", "none"), ("wrn-10-1", "instance")],
)
def test_influence_is_exact(name, norm):
    net = tiny(name, norm=norm).double().eval()
    draw = generator(2)
    for p in net.parameters():
        p.data.copy_(0.4 * torch.randn(p.shape, generator=draw, dtype=torch.float64) + (p.dim() == 1))
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.uniform_(-0.5, 0.5, generator=draw)
            m.running_var.uniform_(0.5, 2, generator=draw)
    x, y = torch.randn(4, 3, 16, 16, generator=draw, dtype=torch.float64), torch.tensor([0, 1, 2, 1])
    fixed, parameters = dict(net.named_buffers()), {k: p.detach() for k, p in net.named_parameters()}

    def loss(p, xi, yi):
        return F.cross_entropy(functional_call(net, {**fixed, **p}, (xi[None],)), yi[None])

    each = vmap(grad(loss), (None, 0, 0))(parameters, x, y)
    v = {k: torch.randn(p.shape, generator=draw, dtype=torch.float64) for k, p in parameters.items()}
    taken = capture(net, x, y, chunk=3)
    want = sum((v[k] * each[k]).flatten(1).sum(1) for k in v)
    torch.testing.assert_close(taken.scores(v), want, rtol=1e-9, atol=1e-9 * float(want.abs().max()))
    omega = torch.tensor([0.1, 2.0, 0.7, 1.2], dtype=torch.float64)
    got, scale = taken.gradient(omega), max(float(t.abs().max()) for t in each.values())
    for k, g in each.items():
        torch.testing.assert_close(got[k], torch.tensordot(omega, g, 1) / 4, rtol=1e-9, atol=1e-11 * scale)


def test_a_name_that_says_the_size_keeps_it_beside_a_narrow_convnet():
    assert width_beside("resnet8x4", 32) is None
    spec = network("resnet8x4", (3, 32, 32), 10, convnet=32)
    assert spec.label == "resnet8x4, width 64, batch norm"
    assert network("wrn-16-2:8:group", (1, 8, 8), 10).label == "wrn-16-2, width 8, group norm"
    assert read_name("mobilenetv2:32") == ("mobilenetv2", 32, None)
    convnet = ModelSpec("convnet3", (3, 32, 32), 10, 32)
    assert another(convnet, "wrn-40-2").width == 32
    assert another(convnet, "shufflenetv1").label == "shufflenetv1, width 240, batch norm"
    wide = ModelSpec("resnet32x4", (3, 32, 32), 10, 8, "group")
    assert another(wide, None) == wide
    assert another(wide, "convnet3").label == "convnet3, width 128, instance norm"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (("vgg13", (3, 7, 9), 2), "images of 7x9 are too small for vgg13: image_size=8 or more"),
        (("mobilenetv2", (3, 16, 16), 2, 16, "instance"), "one pixel in the last maps of mobilenetv2"),
        (("resnet20", (3, 8, 8), 2, 8, "layer"), "resnet20 has no layer norm"),
        (("wrn-18-2", (3, 8, 8), 2), "6 n + 4 layers, so 18 is none: wrn-16-2 would be right"),
        (("wrn-4-2", (3, 8, 8), 2), "wrn-10-2 would be right"),
        (("shufflenetv1", (3, 8, 8), 2, 100), "width 100 cannot be cut into its groups: width 96 would do (a multiple of 12)"),
        (("shufflenetv2", (3, 8, 8), 2, 1), "width 2 would do"),
        (("resnet26", (3, 8, 8), 2), "unknown model 'resnet26'"),
        (("wrn_40_2", (3, 8, 8), 2), "unknown model 'wrn_40_2': did you mean wrn-40-2?"),
    ],
)
def test_networks_that_cannot_be_are_refused(spec, expected):
    with pytest.raises(InputError) as caught:
        ModelSpec(*spec)
    assert expected in str(caught.value)


def test_every_family_is_listed():
    listed = " ".join(MODELS)
    assert all(name in listed for name in ("resnet8x4", "resnet32x4", "wrn-16-2", "mobilenetv2", "shufflenetv1", "vgg8"))
