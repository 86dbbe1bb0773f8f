"""torchvision's and timm's networks: the library's own function, drawn from our generator; embeddings; exact influence."""

import sys

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from refluence.errors import InputError
from refluence.influence import capture
from refluence.models import ModelSpec, build
from refluence.models.library import SEEDS, _made, _wrapped, norm_of
from support.draws import generator

NETWORKS = [
    ("torchvision:resnet18", (3, 32, 32)),
    ("torchvision:resnet18", (1, 32, 40)),
    ("torchvision:densenet121", (3, 32, 32)),
    ("torchvision:mobilenet_v3_small", (3, 32, 32)),
    ("torchvision:efficientnet_b0", (1, 32, 32)),
    ("torchvision:shufflenet_v2_x0_5", (3, 32, 32)),
    ("timm:resnet10t", (1, 32, 32)),
    ("timm:vit_tiny_patch16_224", (3, 32, 32)),
    ("timm:convnext_atto", (2, 32, 32)),
]
SLOW = [
    ("torchvision:vgg11_bn", (3, 32, 32)),
    ("torchvision:alexnet", (3, 64, 64)),
    ("torchvision:convnext_tiny", (3, 32, 32)),
    ("torchvision:swin_t", (3, 32, 32)),
    ("torchvision:vit_b_16", (3, 32, 32)),
    ("torchvision:googlenet", (3, 64, 64)),
    ("torchvision:inception_v3", (3, 75, 75)),
    ("torchvision:maxvit_t", (3, 224, 224)),
    ("timm:swin_tiny_patch4_window7_224", (3, 32, 32)),
    ("timm:mobilenetv3_small_050", (3, 32, 32)),
]
EVERY = [*NETWORKS, *(pytest.param(*network, marks=[pytest.mark.slow, pytest.mark.release]) for network in SLOW)]


def present(name):
    if name.startswith("timm:"):
        pytest.importorskip("timm")


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_the_function_is_the_librarys_own(name, shape):
    present(name)
    spec = ModelSpec(name, shape, 7)
    net = build(spec, generator(3))
    assert net.training
    torch.manual_seed(int(torch.randint(SEEDS, (), generator=generator(3))))
    whole = _made(name, shape, 7).eval()
    net.eval()
    last = [m for m in whole.modules() if isinstance(m, nn.Linear)][-1]
    assert torch.equal(last.weight, net.classifier.weight)
    for head in (last, net.classifier):  # some start at zero, which would hide everything before
        head.weight.data.normal_(generator=generator(2))
    x = torch.randn(2, *shape, generator=generator(1))
    given = x.expand(-1, 3, -1, -1) if name.startswith("torchvision:") else x
    torch.testing.assert_close(net(x), whole(given), rtol=1e-4, atol=1e-5)
    features = net.features(x)
    assert features.shape == (2, spec.width)
    assert torch.equal(net.classifier(features), net(x))


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_the_global_random_state_neither_decides_nor_moves(name, shape):
    present(name)
    spec = ModelSpec(name, shape, 7)
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), build(spec, generator(5))
    x = torch.randn(2, *shape, generator=generator(1))
    trained = first(x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = build(spec, generator(5)), build(spec, generator(6))
    assert torch.equal(again(x), trained), "no masks of dropout either"
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_a_specification_is_complete_and_can_be_made_again():
    spec = ModelSpec("torchvision:resnet18", (3, 32, 32), 4)
    assert (spec.width, spec.norm) == (512, "batch")
    assert ModelSpec(spec.name, spec.shape, spec.classes, spec.width, spec.norm) == spec


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("torchvision:resnet18", "batch"),
        ("torchvision:convnext_tiny", "layer"),
        ("timm:resnet10t", "batch"),
        ("timm:vit_tiny_patch16_224", "layer"),
        ("timm:mobilenetv3_small_050", "batch"),
        ("timm:efficientvit_m0", "batch"),  # its blocks are called ConvNorm
    ],
)
def test_the_norm_is_named(name, norm):
    present(name)
    assert ModelSpec(name, (3, 32, 32), 7).norm == norm


def test_networks_without_a_norm_or_with_several():
    assert norm_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())) == "none"
    assert norm_of(nn.Sequential(nn.BatchNorm2d(4), nn.LayerNorm(4), nn.BatchNorm1d(4))) == "batch+layer"
    assert norm_of(nn.Sequential(nn.RMSNorm(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4))) == "RMSNorm+group+instance"


def test_influence_is_exact_through_in_place_activations_and_shortcuts():
    whole = _made("torchvision:resnet18", (3, 16, 16), 3)
    assert any(isinstance(m, nn.ReLU) and m.inplace for m in whole.modules()), "the case is the one that is meant"
    net = _wrapped("torchvision:resnet18", whole, (3, 16, 16), 3).double().eval()
    x, y = torch.randn(2, 3, 16, 16, generator=generator(1), dtype=torch.float64), torch.tensor([0, 2])
    taken = capture(net, x, y)
    parameters = dict(net.named_parameters())
    v = {k: torch.randn(p.shape, generator=generator(2), dtype=torch.float64) for k, p in parameters.items()}
    omega, scores = torch.tensor([0.5, 1.5], dtype=torch.float64), []
    mean = {k: torch.zeros_like(p) for k, p in parameters.items()}
    for j in range(2):
        g = torch.autograd.grad(cross_entropy(net(x[j : j + 1]), y[j : j + 1]), list(parameters.values()))
        scores.append(sum((v[k] * t).sum() for k, t in zip(parameters, g, strict=True)))
        mean = {k: mean[k] + omega[j] / 2 * t for k, t in zip(parameters, g, strict=True)}
    torch.testing.assert_close(taken.scores(v), torch.stack(scores), rtol=1e-10, atol=1e-9)
    got, scale = taken.gradient(omega), max(float(t.abs().max()) for t in mean.values())
    for k, want in mean.items():
        torch.testing.assert_close(got[k], want, rtol=1e-9, atol=1e-12 * scale)


def test_per_sample_gradients_by_vmap_work_too():
    net = build(ModelSpec("torchvision:shufflenet_v2_x0_5", (3, 32, 32), 3), generator()).eval()
    fixed = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    x, y = torch.randn(2, 3, 32, 32, generator=generator(1)), torch.tensor([0, 2])

    def loss(weight, xi, yi):
        return cross_entropy(functional_call(net, {**fixed, "classifier.weight": weight}, (xi[None],)), yi[None])

    each = vmap(grad(loss), (None, 0, 0))(net.classifier.weight.detach(), x, y)
    probabilities = net(x).softmax(1) - torch.nn.functional.one_hot(y, 3)
    torch.testing.assert_close(each, probabilities[:, :, None] * net.features(x)[:, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (("torchvision:resnet1", (3, 32, 32), 2), "unknown model 'torchvision:resnet1': did you mean resnet1"),
        (("torchvision:xqzw", (3, 32, 32), 2), "torchvision.models.list_models() has the names"),
        (("torchvision:raft_small", (3, 32, 32), 2), "unknown model"),
        (("torchvision:alexnet", (3, 8, 8), 2), "does not take images of 3 x 8 x 8 (RuntimeError"),
        (("torchvision:vit_b_16", (3, 8, 8), 2), "cannot be made for images of 3 x 8 x 8"),
        (("torchvision:resnet18", (4, 32, 32), 2), "3 channels, or grey ones: these have 4"),
        (("torchvision:resnet18", (3, 32, 32), 2, None, "group"), "has its own norm layers (batch): leave out norm 'group'"),
        (("torchvision:resnet18", (3, 32, 32), 2, 64), "has its own width: leave out width 64"),
        (("torchvision:squeezenet1_0", (3, 64, 64), 2), "does not end in one linear layer"),
        (("torchvision:", (3, 64, 64), 2), "unknown model 'torchvision:'"),
        (("keras:resnet", (3, 64, 64), 2), "unknown model 'keras:resnet'"),
    ],
)
def test_networks_that_cannot_be_are_refused(spec, expected):
    with pytest.raises(InputError) as caught:
        ModelSpec(*spec)
    assert expected in str(caught.value)


def test_timm_refuses_too():
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="unknown model 'timm:resnet1'"):
        ModelSpec("timm:resnet1", (3, 32, 32), 2)
    with pytest.raises(InputError, match="does not end in one linear layer"):
        ModelSpec("timm:deit_tiny_distilled_patch16_224", (3, 32, 32), 2)


def test_without_timm_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"timm:resnet18 needs timm, which is not installed: pip install timm$"):
        ModelSpec("timm:resnet18", (3, 32, 32), 2)


def test_a_network_that_draws_random_numbers_is_refused(monkeypatch):
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1) + torch.rand(()))

    monkeypatch.setattr("refluence.models.library._torchvision", lambda *_: nn.Sequential(Noisy(12, 5), nn.Linear(5, 2)))
    with pytest.raises(InputError, match="draws random numbers while it trains"):
        ModelSpec("torchvision:noisy", (3, 2, 2), 2)
