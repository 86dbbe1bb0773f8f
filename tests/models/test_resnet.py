"""ResNets: published sizes, a literal transcription of the forward pass, He initialisation, exact influence, refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from refluence.errors import InputError
from refluence.influence import capture
from refluence.models import ModelSpec, build
from refluence.models.resnet import RESNETS, last_map
from refluence.options import NORMS
from support.draws import generator


def randn(*shape, seed=1, dtype=torch.float32):
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def counted(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "blocks", "norm"), [("resnet10", 1, "batch"), ("resnet18", 2, "batch"), ("resnetap10", 1, "instance")]
)
def test_the_published_networks_have_their_published_sizes(name, blocks, norm):
    spec = ModelSpec(name, (3, 32, 32), 10)
    assert (spec.name, spec.width, spec.norm) == (name, 64, norm)
    net = build(spec, generator())
    want, inputs = 3 * 9 * 64 + 128, 64
    for stage in range(4):
        outputs = 64 * 2**stage
        want += 9 * inputs * outputs + 9 * outputs**2 + 4 * outputs  # the first block
        want += inputs * outputs + 2 * outputs if stage else 0  # its shortcut
        want += (blocks - 1) * (18 * outputs**2 + 4 * outputs)
        inputs = outputs
    assert counted(net) == want + 512 * 10 + 10
    assert net.training
    assert not any(isinstance(m, nn.MaxPool2d) for m in net.modules())
    if name == "resnet18":
        assert counted(net) == 11_173_962  # the ResNet-18 for CIFAR


def test_the_form_for_imagenet_is_torchvisions():
    from torchvision.models import resnet18

    mine, theirs = build(ModelSpec("resnet18", (3, 144, 160), 7), generator()).eval(), resnet18(num_classes=7).eval()
    others = theirs.state_dict()
    theirs.load_state_dict(dict(zip(others, mine.state_dict().values(), strict=True)))  # both list stem, blocks, classifier
    x = randn(2, 3, 144, 160)
    torch.testing.assert_close(mine(x), theirs(x), rtol=1e-4, atol=1e-5)


def literal(net, name, x):
    """Section 2.2 of the literature's conventions, layer by layer, from the parameters in their order."""
    side, pooled = min(x.shape[2:]), name == "resnetap10"
    blocks = 2 if name == "resnet18" else 1
    convs = iter([m for m in net.modules() if isinstance(m, nn.Conv2d)])
    norms = iter([m for m in net.modules() if isinstance(m, (nn.GroupNorm, nn.BatchNorm2d))])

    def norm(h):
        return next(norms)(h) if net_has_norms else h

    def conv(h, stride=1):
        layer = next(convs)
        k = layer.weight.shape[-1]
        return F.conv2d(h, layer.weight, layer.bias, stride=stride, padding=k // 2)

    net_has_norms = any(isinstance(m, (nn.GroupNorm, nn.BatchNorm2d)) for m in net.modules())
    h = F.relu(norm(conv(x, 1 if pooled or side <= 128 else 2)))
    if side > 64 and pooled:
        h = F.avg_pool2d(h, 2 if side <= 128 else 4)
    elif side > 64:
        h = F.max_pool2d(h, 3, 2, 1)
    for stage in range(4):
        for block in range(blocks):
            halve = stage > 0 and block == 0
            stride = 2 if halve and not pooled else 1
            out = F.relu(norm(conv(h, stride)))
            if halve and pooled:
                out = F.avg_pool2d(out, 2)
            out = norm(conv(out))
            if halve:
                h = conv(h, stride)
                if pooled:
                    h = F.avg_pool2d(h, 2)
                h = norm(h)
            h = F.relu(out + h)
    assert next(convs, None) is None
    return h.mean((2, 3))


@pytest.mark.parametrize("size", [(16, 20), (72, 72), (136, 144)])
@pytest.mark.parametrize(("name", "norm"), [("resnet10", "batch"), ("resnet18", "group"), ("resnetap10", "instance"),
                                            ("resnetap10", "none")])  # fmt: skip
def test_the_network_is_what_the_literature_says(name, norm, size):
    net = build(ModelSpec(name, (3, *size), 5, width=4, norm=norm), generator()).double().eval()
    x = randn(2, 3, *size, dtype=torch.float64)
    features = net.features(x)
    assert features.shape == (2, 32)
    torch.testing.assert_close(features, literal(net, name, x), rtol=1e-12, atol=1e-12)
    assert torch.equal(net(x), net.classifier(features))
    assert tuple(net.body(x).shape[2:]) == last_map(size, RESNETS[name].pooled)


@pytest.mark.parametrize("side", [5, 7, 8, 9, 15, 28, 63, 65, 66, 97, 127, 129, 131, 200, 224])
def test_the_last_map_is_as_long_as_it_is_said(side):
    for name in ("resnet10", "resnetap10"):
        if side < 8 and name == "resnetap10":
            continue
        net = build(ModelSpec(name, (1, side, side + 9), 2, width=1, norm="none"), generator())
        assert tuple(net.body(torch.zeros(1, 1, side, side + 9)).shape[2:]) == last_map((side, side + 9), name == "resnetap10")


def test_initialisation_is_that_of_he():
    net = build(ModelSpec("resnet10", (3, 32, 32), 10, width=32), generator())
    for module in net.requires_grad_(False).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            outputs, _, k, _ = module.weight.shape
            assert float(module.weight.std()) == pytest.approx((2 / (k * k * outputs)) ** 0.5, rel=0.05)
            assert float(module.weight.abs().max()) > 3 * float(module.weight.std()), "normal, not uniform"
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.running_mean, torch.zeros_like(module.running_mean))
            assert torch.equal(module.running_var, torch.ones_like(module.running_var))


def test_weights_come_from_the_generator_alone():
    spec, before = ModelSpec("resnetap10", (1, 16, 16), 3, width=4), torch.get_rng_state()
    first, again, other = (build(spec, generator(seed)).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["body.0.weight"], other["body.0.weight"])


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "layer"])
@pytest.mark.parametrize("name", RESNETS)
def test_every_norm_trains(name, norm):
    net = build(ModelSpec(name, (3, 16, 24), 5, width=4, norm=norm), generator())
    net(randn(4, 3, 16, 24)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
    assert sum(isinstance(m, (nn.GroupNorm, nn.BatchNorm2d)) for m in net.modules()) == (
        0 if norm == "none" else {"resnet10": 12, "resnet18": 20, "resnetap10": 12}[name]
    )


def frozen(name, norm, size):
    """A tiny network in float64, in evaluation mode, away from its symmetric start, with batch statistics as after training."""
    net = build(ModelSpec(name, (3, size, size), 3, width=2, norm=norm), generator()).double().eval()
    g = generator(2)
    for p in net.parameters():
        p.data.copy_(0.3 * torch.randn(p.shape, generator=g, dtype=torch.float64) + (p.dim() == 1))
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.uniform_(-0.5, 0.5, generator=g)
            m.running_var.uniform_(0.5, 2, generator=g)
    return net


@pytest.mark.parametrize("room", [0, 2**29])
@pytest.mark.parametrize(
    ("name", "norm", "size"),
    [("resnet10", "batch", 8), ("resnet10", "instance", 16), ("resnet10", "none", 8), ("resnet18", "group", 8),
     ("resnetap10", "instance", 16), ("resnetap10", "batch", 8), ("resnetap10", "group", 8)],
)  # fmt: skip
def test_influence_is_exact(name, norm, size, room):
    net = frozen(name, norm, size)
    x, y = randn(5, 3, size, size, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 1])
    fixed = dict(net.named_buffers())

    def loss(p, xi, yi):
        return F.cross_entropy(functional_call(net, {**fixed, **p}, (xi[None],)), yi[None])

    parameters = {k: p.detach() for k, p in net.named_parameters()}
    each = vmap(grad(loss), (None, 0, 0))(parameters, x, y)
    v = {k: randn(*p.shape, seed=3, dtype=torch.float64) for k, p in parameters.items()}
    omega = torch.tensor([0.1, 2.0, 0.7, 0.0, 1.2], dtype=torch.float64)
    taken = capture(net, x, y, chunk=3, room=room)
    want = sum((v[k] * each[k]).flatten(1).sum(1) for k in v)
    torch.testing.assert_close(taken.scores(v), want, rtol=1e-10, atol=1e-10 * float(want.abs().max()))
    got, scale = taken.gradient(omega), max(float(t.abs().max()) for t in each.values())
    for k, g in each.items():
        torch.testing.assert_close(got[k], torch.tensordot(omega, g, 1) / 5, rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (("resnetap10", (3, 7, 9), 2), "images of 7x9 are too small for resnetap10: image_size=8 or more"),
        (("resnetap10", (3, 8, 8), 2), "one pixel in the last maps of resnetap10"),
        (("resnet10", (3, 8, 8), 2, 8, "instance"), "norm='group' or batch, or image_size=9 or more"),
        (("resnet34", (3, 8, 8), 2), "unknown model 'resnet34': did you mean resnet32x4"),
        (("resnet10", (3, 8, 8), 2, 8, "layer"), "resnet10 has no layer norm"),
        (("resnet10", (3, 8, 8), 2, 8, "own"), "unknown norm 'own'"),
        (("resnet10", (3, 8, 8), 2, 0), "width is 0"),
    ],
)
def test_networks_that_cannot_be_are_refused(spec, expected):
    with pytest.raises(InputError) as caught:
        ModelSpec(*spec)
    assert expected in str(caught.value)


def test_what_instance_norm_would_leave_of_one_pixel():
    """The refusal has a reason: the same network at the smallest size that is refused gives the same for all."""
    net = build(ModelSpec("resnet10", (1, 9, 9), 2, width=2, norm="instance"), generator()).eval()
    small, large = net(randn(3, 1, 8, 8)).detach(), net(randn(3, 1, 9, 9)).detach()
    torch.testing.assert_close(small[0], small[1], rtol=0, atol=1e-3)
    assert float((large[0] - large[1]).abs().max()) > 0.01
