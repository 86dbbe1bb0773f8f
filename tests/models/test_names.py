"""Tensors of a file find their places in a network whatever wrappers they were saved in; nothing is guessed, all is said."""

import pytest
import torch
from torch import nn

from refluence.errors import InputError
from refluence.models import ModelSpec, build
from refluence.models.library import _made
from refluence.models.names import fit


def small():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))


def state(net=None, seed=1):
    """Numbers that no network starts with, by its names."""
    draw = torch.Generator().manual_seed(seed)
    wanted = (net or small()).state_dict()
    return {k: torch.rand(t.shape, generator=draw) if t.is_floating_point() else t for k, t in wanted.items()}


def renamed(form):
    return {form.format(name): tensor for name, tensor in state().items()}


PLAIN = state()


@pytest.mark.parametrize(
    ("stored", "remarks"),
    [
        (PLAIN, []),
        (renamed("_orig_mod.{}"), ["left off its names: _orig_mod."]),
        (renamed("module.{}"), ["left off its names: module."]),
        (renamed("module._orig_mod.{}"), ["left off its names: module., _orig_mod."]),
        (renamed("model.{}"), ["left off its names: model."]),
        (renamed("state_dict.net.module.{}"), ["left off its names: module., state_dict.net."]),
        ({**renamed("ema_model.module.{}"), "step": torch.tensor(3)},
         ["left off its names: module., ema_model.", "1 other tensor is passed over (step)"]),
        ({**renamed("module.{}"), "n_averaged": torch.tensor(3)}, ["left off its names: module."]),
        ({**renamed("model.{}"), "criterion.weight": torch.ones(5), "metric.total": torch.ones(1)},
         ["left off its names: model.", "2 other tensors are passed over (criterion.weight …)"]),
        ({k: t for k, t in PLAIN.items() if "num_batches" not in k}, []),
        ({**PLAIN, "0.total_ops": torch.ones(1, dtype=torch.float64)}, []),
        ({k.replace("0.", "0._orig_mod.", 1): t for k, t in PLAIN.items()}, ["left off its names: _orig_mod."]),
    ],
)  # fmt: skip
def test_the_same_names_but_for_wrappers(stored, remarks):
    found = fit(stored, small(), 5, {})
    assert {k: t for k, t in found.tensors.items() if "num_batches" not in k}.keys() == {
        k for k in PLAIN if "num_batches" not in k
    }
    assert all(torch.equal(found.tensors[k], t) for k, t in PLAIN.items())
    assert found.remarks == remarks


class Compiled(nn.Module):
    """Named as what `torch.compile` gives, which takes seconds to import."""

    def __init__(self, net):
        super().__init__()
        self._orig_mod = net


@pytest.mark.parametrize("wrap", [nn.DataParallel, Compiled, lambda net: nn.DataParallel(Compiled(net))])
def test_a_network_that_is_wrapped_takes_plain_names(wrap):
    found = fit(PLAIN, wrap(small()), 5, {}).tensors
    assert [torch.equal(a, b) for a, b in zip(found.values(), PLAIN.values(), strict=True)] == [True] * len(PLAIN)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_said(kind):
    found = fit({k: t.to(kind) if t.is_floating_point() else t for k, t in PLAIN.items()}, small(), 5, {})
    assert found.remarks == [f"its {str(kind)[6:]} numbers are used as float32"]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({k: t for k, t in PLAIN.items() if k != "3.bias"}, r"^3\.bias is missing there"),
        ({f"net.{k}": t for k, t in PLAIN.items() if k != "1.running_var"}, r"^net\.1\.running_var is missing there"),
        ({**PLAIN, "4.weight": torch.ones(2)}, r"no 4\.weight"),
        ({**renamed("net.{}"), "net.4.weight": torch.ones(2)}, r"no 4\.weight"),
        ({**PLAIN, "3.weight": torch.ones(1000, 16), "3.bias": torch.ones(1000)},
         r"3\.weight is \(1000, 16\) there, \(5, 16\) in this network: it knows 1000 classes, these data have 5"),
        ({**PLAIN, "0.weight": torch.ones(4, 3, 3, 3)}, r"\(4, 3, 3, 3\) there.*: it takes 3 channels, these images have 1"),
        ({**PLAIN, "3.weight": torch.ones(5, 16, dtype=torch.int8)}, r"3\.weight holds int8 numbers"),
        ({**renamed("model.{}"), **renamed("ema_model.{}")}, r"several networks \(names begin with model\. or ema_model\."),
        ({**PLAIN, **renamed("ema.{}")}, r"several networks \(names begin with nothing or ema\."),
        ({**PLAIN, **renamed("module.{}")}, r"several networks \(0\.weight and module\.0\.weight"),
        ({"weight": torch.ones(2)}, r"0\.weight is missing there"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(stored, expected):
    with pytest.raises(InputError, match=expected):
        fit(stored, small(), 5, {})


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight


def test_tied_names():
    one, two = torch.rand(4, 4), torch.rand(4, 4)
    for stored in ({"a.weight": one}, {"b.weight": one}, {"a.weight": one, "b.weight": one.clone()}):
        found = fit(stored, Tied(), 4, {}).tensors
        assert torch.equal(found["a.weight"], one)
        assert torch.equal(found["b.weight"], one)
    with pytest.raises(InputError, match=r"a\.weight and b\.weight are one tensor in this network, and differ there"):
        fit({"a.weight": one, "b.weight": two}, Tied(), 4, {})
    loose = nn.ModuleDict({"a": nn.Linear(4, 4, bias=False), "b": nn.Linear(4, 4, bias=False)})
    assert torch.equal(fit({"a.weight": one}, loose, 4, {"b.weight": "a.weight"}).tensors["b.weight"], one)
    with pytest.raises(InputError, match=r"b\.weight is missing"):
        fit({"a.weight": one}, loose, 4, {})


class Called(nn.Module):
    """Parts that are called as a wrapper is, beside the same without."""

    def __init__(self):
        super().__init__()
        self.body, self.module = nn.Linear(2, 2), nn.ModuleDict({"body": nn.Linear(2, 2)})


def test_names_of_its_own_that_look_like_wrappers_stay():
    stored = state(Called())
    found = fit(stored, Called(), 2, {})
    assert found.remarks == []
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in stored.items())


@pytest.mark.parametrize(
    "name", ["torchvision:resnet18", "torchvision:densenet121", "torchvision:mobilenet_v3_small", "timm:resnet10t"]
)
def test_the_librarys_own_names_fit_its_network(name):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    whole = _made(name, (3, 32, 32), 5).eval()
    net = build(ModelSpec(name, (3, 32, 32), 5), torch.Generator().manual_seed(0)).eval()
    stored = {f"model.{k}": t for k, t in whole.state_dict().items()}
    found = fit({**stored, "model.aux1.fc1.weight": torch.ones(2)}, net, 5, {})
    net.load_state_dict(found.tensors)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(x), whole(x), rtol=1e-4, atol=1e-5)
    assert found.remarks == [
        "names as in the library's own network",
        "left off its names: model.",
        "1 other tensor is passed over (model.aux1.fc1.weight)",
    ]
    assert fit(net.state_dict(), net, 5, {}).remarks == [], "as `evaluate --save-model` writes them"
