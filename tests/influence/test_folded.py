"""A convolution and the batch norm behind it, scored by one product, against autograd sample by sample in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from refluence.influence import Scorer
from refluence.influence.folded import folded
from refluence.influence.ghost import Ghost
from refluence.influence.losses import cross_entropy
from refluence.influence.watching import watch
from support.brute_force import close


class Pair(nn.Module):
    """A convolution, its norm and a head; `read`: what else looks at the convolution's output."""

    def __init__(self, read: str = "norm", **options):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, **options)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)
        self.read = read

    def forward(self, x):
        out = self.conv(x)
        if self.read == "clamped" or (self.read == "clamped large" and bool(out.abs().max() > 10)):
            with torch.no_grad():
                out.clamp_(-1, 1)
        if self.read == "hooked" and out.requires_grad:
            out.register_hook(lambda gradient: gradient * 2)
        y = self.norm(out)
        if self.read == "hooked later" and out.requires_grad:
            out.register_hook(lambda gradient: gradient * 2)
        if self.read == "skip":
            y = y + out
        if self.read == "twice":
            y = y * self.norm(out).sigmoid()
        if self.read == "shifted":
            y = self.norm(out * 2)
        return self.head(F.relu_(y).mean((2, 3)))


def net_of(read="norm", **options):
    torch.manual_seed(0)
    net = Pair(read, **options).double().eval()
    for t in (net.norm.weight, net.norm.bias, net.norm.running_mean):
        t.data += torch.randn_like(t)
    net.norm.running_var.uniform_(0.5, 2)
    return net


def batch():
    g = torch.Generator().manual_seed(1)
    return torch.randn(5, 4, 7, 7, generator=g, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])


def direction(net, names=None):
    g = torch.Generator().manual_seed(2)
    drawn = {k: torch.randn(p.shape, generator=g, dtype=p.dtype) for k, p in net.named_parameters()}
    return {k: v for k, v in drawn.items() if names is None or k in names}


def by_autograd(net, x, y, v):
    def one(j):
        loss = F.cross_entropy(net(x[[j]]), y[[j]])
        found = torch.autograd.grad(loss, [dict(net.named_parameters())[name] for name in v])
        return sum((g * t).sum() for g, t in zip(found, v.values(), strict=True))

    return torch.stack([one(j) for j in range(len(x))]).detach()


def pairs(net, x, y, names=None):
    """How many convolutions are folded in a pass."""
    layers = Ghost(net, cross_entropy, names or [k for k, _ in net.named_parameters()]).layers
    with watch(layers, len(x)) as calls:
        return len(folded(cross_entropy(net(x), y), calls))


OPTIONS = [
    {},
    {"bias": False},
    {"groups": 2, "stride": 2},
    {"padding": 1, "padding_mode": "reflect"},
    {"padding": "same", "dilation": 2, "bias": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_product_of_both_is_that_of_autograd(options):
    net, (x, y) = net_of(**options), batch()
    v = direction(net)
    assert pairs(net, x, y) == 1
    close(Scorer(net, engine="ghost")(x, y, v), by_autograd(net, x, y, v), 1e-10)


@pytest.mark.parametrize(("read", "count"), [("skip", 0), ("twice", 0), ("shifted", 0)])
def test_a_convolution_that_more_than_a_norm_reads_keeps_a_product_of_its_own(read, count):
    net, (x, y) = net_of(read), batch()
    v = direction(net)
    assert pairs(net, x, y) == count
    close(Scorer(net, engine="ghost")(x, y, v), by_autograd(net, x, y, v), 1e-10)


@pytest.mark.parametrize("between", ["clamped", "hooked", "hooked later"])
def test_what_is_changed_between_both_keeps_a_product_of_its_own(between):
    net, (x, y) = net_of(between), batch()
    v = direction(net)
    assert pairs(net, x, y) == 0
    close(Scorer(net, engine="ghost")(x, y, v), by_autograd(net, x, y, v), 1e-10)


def test_a_batch_that_is_changed_in_between_behind_one_that_is_not():
    net, (x, y) = net_of("clamped large"), batch()
    v = direction(net)
    scorer = Scorer(net, engine="ghost")
    assert pairs(net, x, y) == 1
    close(scorer(x, y, v), by_autograd(net, x, y, v), 1e-10)
    assert pairs(net, 20 * x, y) == 0
    close(scorer(20 * x, y, v), by_autograd(net, 20 * x, y, v), 1e-10)


@pytest.mark.parametrize("left_out", ["conv.weight", "conv.bias", "norm.weight", "norm.bias"])
def test_parameters_that_do_not_count(left_out):
    net, (x, y) = net_of(), batch()
    v = direction(net, {k for k, _ in net.named_parameters()} - {left_out})
    assert pairs(net, x, y, list(v)) == (0 if left_out.endswith("weight") else 1)
    close(Scorer(net, engine="ghost")(x, y, v), by_autograd(net, x, y, v), 1e-10)


def test_a_scale_of_nought_hides_no_norm():
    net, (x, y) = net_of(), batch()
    net.norm.weight.data[2:] = 0
    v = direction(net)
    close(Scorer(net, engine="ghost")(x, y, v), by_autograd(net, x, y, v), 1e-10)


def test_large_maps_and_a_mean_far_from_nought_in_single_precision():
    """Where the statistics are far from nought, the products of both parts nearly cancel."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    net.eval()
    x, y = torch.randn(3, 3, 160, 160) + 20, torch.tensor([0, 1, 2])
    with torch.no_grad():
        maps = net[0](x)
        net[1].running_mean.copy_(maps.mean((0, 2, 3)))
        net[1].running_var.copy_(maps.var((0, 2, 3)))
    v = direction(net)
    got = Scorer(net, engine="ghost")(x, y, v)
    net.double()
    want = by_autograd(net, x.double(), y, {k: t.double() for k, t in v.items()})
    close(got.double(), want, 1e-4)
