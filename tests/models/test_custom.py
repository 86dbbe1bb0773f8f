"""Networks of the user's own: a function or a file as a spec, what is derived from any module, and who can use it for what."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from logging import getLogger
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from refluence.condense.dc import METHOD as DC
from refluence.condense.dm import METHOD as DM
from refluence.condense.idc import METHOD as IDC
from refluence.condense.requirements import check_network
from refluence.digests import digest
from refluence.errors import InputError
from refluence.models import ModelSpec, another, build, network, read_name, read_spec
from refluence.models.convnet import ConvNet
from refluence.models.stored import read_model, save_model
from refluence.select.herding import METHOD as HERDING

SHAPE, CLASSES = (1, 8, 8), 3
WIDE = 5


class Conv(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.features = nn.Conv2d(shape[0], 4, 3)  # the name that means the embedding elsewhere
        self.drop, self.head = nn.Dropout(), nn.Linear(4 * 9, classes)

    def forward(self, x):
        return self.head(self.drop(nn.functional.avg_pool2d(self.features(x).tanh(), 2).flatten(1))).log_softmax(1)


def mlp(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], WIDE), nn.Tanh(), nn.Linear(WIDE, classes))


def no_linear(shape, classes):
    return nn.Sequential(nn.Conv2d(shape[0], classes, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def bent(shape, classes):
    return nn.Sequential(nn.Conv2d(shape[0], 4, 3), nn.Hardsigmoid(), nn.Flatten(), nn.Linear(4 * 36, classes))


def unread(shape, classes):
    net = mlp(shape, classes)
    net.spare = nn.Linear(3, 3)
    net.forward = lambda x: nn.Sequential.forward(net[:4], x)
    return net


def frozen(shape, classes):
    net = Conv(shape, classes)
    net.features.requires_grad_(False)
    return net


class Noisy(nn.Sequential):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), training=self.training)


def noisy(shape, classes):
    return Noisy(mlp(shape, classes))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "from torch import nn\n\ndef make(shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))\n"
    )
    return tmp_path / "own.py"


@pytest.mark.parametrize(("make", "length", "norm"), [(Conv, 36, "none"), (mlp, WIDE, "none"), (no_linear, 0, "none")])
def test_any_module_has_an_embedding_where_it_has_a_last_linear_layer(make, length, norm):
    spec = network(make, SHAPE, CLASSES)
    assert (spec.name, spec.width, spec.norm) == (f"{make.__name__}()", length, norm)
    net, x = build(spec, seeded()).eval(), torch.randn(4, *SHAPE)
    assert net(x).shape == (4, CLASSES)
    if length:
        last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
        logits = last(net.features(x))
        torch.testing.assert_close(logits.log_softmax(1) if make is Conv else logits, net(x))
        assert torch.autograd.grad(net.features(x.requires_grad_()).sum(), x)[0].abs().sum() > 0


class Twice(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.head = nn.Linear(shape[0] * shape[1] * shape[2], classes)

    def forward(self, x):
        return self.head(x.flatten(1)) + self.head(-x.flatten(1).square())


def test_a_last_layer_that_is_called_twice_has_both_inputs():
    net, x = build(network(Twice, SHAPE, CLASSES), seeded()), torch.randn(2, *SHAPE)
    torch.testing.assert_close(net.features(x), torch.cat([x.flatten(1), -x.flatten(1).square()], 1))
    assert network(Twice, SHAPE, CLASSES).width == 128


def named_one(shape, classes):
    return ConvNet(shape[0], shape[1:], classes, width=4, depth=1)


def test_a_function_that_returns_one_of_ours_has_its_embedding():
    net, x = build(network(named_one, SHAPE, CLASSES), seeded()), torch.randn(2, *SHAPE)
    assert torch.equal(net.features(x), net.net.features(x))
    assert torch.equal(net(x), net.net(x))


def test_weights_come_from_the_generator_alone():
    spec = network(mlp, SHAPE, CLASSES)
    torch.manual_seed(1)
    one = build(spec, seeded()).state_dict()
    torch.manual_seed(2)
    same, other = build(spec, seeded()).state_dict(), build(spec, seeded(1)).state_dict()
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not any(torch.equal(one[k], other[k]) for k in one)
    assert build(spec, seeded()).training


def test_a_spec_is_plain_values():
    spec = network(mlp, SHAPE, CLASSES)
    assert spec == network(mlp, SHAPE, CLASSES)
    assert len({spec, network(mlp, SHAPE, CLASSES), network(Conv, SHAPE, CLASSES)}) == 2
    again = read_spec(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    with pytest.raises(InputError, match=r"model mlp\(\): the run was made with this function given in Python: hand it over"):
        again.verify()
    named = ModelSpec("convnet", SHAPE, CLASSES, width=4)
    assert list(named.to_json()) == ["name", "shape", "classes", "width", "norm"]
    assert read_spec(json.loads(json.dumps(named.to_json()))) == named


def test_a_function_with_a_name_reaches_other_processes():
    spec = pickle.loads(pickle.dumps(network(mlp, SHAPE, CLASSES)))
    assert build(spec, seeded())(torch.zeros(1, *SHAPE)).shape == (1, CLASSES)
    with pytest.raises(InputError, match=r"<lambda>\(\): other processes cannot import it: write it into a file"):
        pickle.dumps(network(lambda shape, classes: mlp(shape, classes), SHAPE, CLASSES))


def test_a_file_that_has_changed_is_named(file):
    spec = network("own.py:make", SHAPE, CLASSES)
    assert pickle.loads(pickle.dumps(spec)) == spec
    build(read_spec(spec.to_json()), seeded())
    file.write_text(file.read_text() + "\n")
    with pytest.raises(InputError, match=r"model own.py:make: own.py has changed since the run"):
        build(spec, seeded())
    assert network("own.py:make", SHAPE, CLASSES) != spec
    file.unlink()
    with pytest.raises(InputError, match=r"there is no file own\.py"):
        spec.verify()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": nn.Linear(2, 2)}, "model a Linear that is made already: every run starts new ones"),
        ({"model": 3}, "model is 3: it must be a name, FILE.py:FUNCTION, or a function"),
        ({"model": mlp, "width": 8}, "width 8 is for a convnet or a resnet: mlp decides that itself"),
        ({"model": "own.py:make", "norm": "group"}, "norm group is for a convnet or a resnet: own.py:make decides"),
        ({"model": lambda shape: mlp(shape, 3)}, r"model <lambda>\(\): <lambda>\(\(1, 8, 8\), 3\) failed \(TypeError"),
        (
            {"model": lambda shape, classes: mlp(shape, 4)},
            r"gives \(2, 4\) for 2 images .*; expected logits \(2, 3\)",
        ),
        ({"model": "mlp()"}, "given in Python: hand it over"),
        ({"model": "convnett"}, "unknown model 'convnett': did you mean convnet"),
    ],
)
def test_what_is_no_network(file, given, message):
    with pytest.raises(InputError, match=message):
        network(given.pop("model"), SHAPE, CLASSES, **given)


def test_a_digest_is_that_of_the_code():
    def sized(count):
        return lambda shape, classes: [shape, classes, count]

    assert digest(sized(1)) == digest(sized(1))
    assert digest(sized(1)) != digest(sized(2)), "what it encloses"
    assert digest(partial(mlp, classes=1)) != digest(partial(mlp, classes=2))
    start = nn.Linear(2, 2)
    before = digest(lambda shape, classes: start)
    assert digest(lambda shape, classes: start) == before
    nn.init.zeros_(start.bias)
    assert digest(lambda shape, classes: start) != before, "the weights that it starts from"
    assert len({digest(each) for each in (mlp, Conv, Noisy, no_linear, bent)}) == 5


def test_a_digest_follows_what_a_function_reads(monkeypatch):
    before = digest(mlp), digest(noisy), digest(Conv)
    monkeypatch.setattr(f"{__name__}.WIDE", 6)
    assert digest(mlp) != before[0]
    assert digest(noisy) != before[1], "noisy calls mlp"
    assert digest(Conv) == before[2]


CFG = {"act": "tanh"}


class Plain:
    def __init__(self, act):
        self.act = act

    def __repr__(self):
        return "Plain"


def reads(shape, classes):
    return CFG


HELD = [
    (lambda: {"act": "tanh"}, lambda: {"act": "relu"}),
    (lambda: [1, {2}], lambda: [1, {3}]),
    (lambda: torch.zeros(2), lambda: torch.ones(2)),
    (lambda: np.zeros(2), lambda: np.ones(2)),
    (lambda: np.array([1, "a"], object), lambda: np.array([1, "b"], object)),
    (lambda: SimpleNamespace(act="tanh"), lambda: SimpleNamespace(act="relu")),
    (lambda: Plain("tanh"), lambda: Plain("relu")),
    (lambda: Plain(np.zeros(2)), lambda: Plain(np.ones(2))),
    (lambda: torch.device("cpu"), lambda: torch.device("meta")),
    (lambda: nn.Linear(1, 1), lambda: nn.Linear(2, 1)),
    (lambda: lru_cache(lambda x: x + 1), lambda: lru_cache(lambda x: x + 2)),
]


@pytest.mark.parametrize(("one", "other"), HELD)
def test_a_digest_counts_what_globals_and_closures_hold(one, other, monkeypatch):
    def of(make):
        torch.manual_seed(0)
        value = make()
        monkeypatch.setattr(f"{__name__}.CFG", value)
        return digest(reads), digest(lambda: value)

    assert of(one) == of(one), "a place in memory has no part in it"
    assert all(a != b for a, b in zip(of(one), of(other), strict=True))


def test_a_digest_ends_where_things_hold_each_other(monkeypatch):
    both, plain = [1], Plain("tanh")
    both.append(both)
    plain.itself = plain
    for value in (both, plain, sys, open, list[int], Callable[..., int], getLogger("x"), np.add, resnet18()):
        monkeypatch.setattr(f"{__name__}.CFG", value)
        assert digest(reads) == digest(reads)


def settings(method):
    return method.settings(1, "cpu", SHAPE)


@pytest.mark.parametrize(
    ("make", "method", "message"),
    [
        (
            no_linear,
            DM,
            "no_linear.. has no last linear layer, and so no embedding, which dm matches: .* dc, dsa and idc",
        ),
        (bent, DC, "bent.. can judge a set, not make one by dc .*second derivative: dm, idm and ncfm, which match embeddings"),
        (mlp, IDC, "mlp.. has no weight whose gradient idc compares, a convolution: dc and dsa"),
        (noisy, DM, "noisy.. draws random numbers while it trains, beside dropout layers"),
        (
            unread,
            DC,
            "the logits of unread.. do not depend on spare.weight, whose gradient dc compares: leave it out",
        ),
        (frozen, IDC, "frozen.. has no weight whose gradient idc compares"),
        (frozen, DC, None),
        (no_linear, DC, None),
        (bent, DM, None),
        (mlp, DC, None),
        (Conv, IDC, None),
    ],
)
def test_what_a_network_lacks_is_said_before_the_run(make, method, message):
    spec = network(make, SHAPE, CLASSES)
    if message is None:
        check_network(spec, method, settings(method))
        return
    with pytest.raises(InputError, match=message):
        check_network(spec, method, settings(method))


def test_starts_and_batches_that_cluster_need_an_embedding():
    spec = network(no_linear, SHAPE, CLASSES)
    for changes, message in (({"cluster_every": 2}, "cluster_every=2"), ({"initial": "cluster"}, "initial=cluster")):
        with pytest.raises(InputError, match=message):
            check_network(spec, DC, settings(DC).with_(**changes))
    with pytest.raises(InputError, match="random, el2n, loss and forgetting need none"):
        HERDING.check_model(spec)


def test_another_network_for_the_same_images(file):
    spec = network(mlp, SHAPE, CLASSES)
    assert another(spec, None) == spec
    assert another(spec, "convnet").width == another(spec, "own.py:make").width // 2 == 32
    with pytest.raises(InputError, match=r"width 4 is for a convnet or a resnet: mlp\(\) decides"):
        another(spec, None, 4)
    assert another(ModelSpec("convnet", SHAPE, CLASSES, width=8), mlp) == spec


def test_stored_weights_have_the_names_of_the_network(tmp_path):
    spec = network(mlp, SHAPE, CLASSES)
    trained = ModelSpec.__class__("Trained", (), {"classes": ("a", "b", "c"), "mean": (0.0,), "std": (1.0,)})
    save_model(tmp_path / "m.safetensors", build(spec, seeded()), spec, trained)
    stored = read_model(tmp_path / "m.safetensors")
    mlp(SHAPE, CLASSES).load_state_dict(stored.tensors)
    assert stored.facts["model"] == "mlp()"
    assert "width" not in stored.facts


def test_a_width_and_a_norm_may_stand_behind_a_name():
    assert read_name("convnet3:32:group") == read_name("convnet3:group:32") == ("convnet3", 32, "group")
    assert network("convnet1:4", SHAPE, CLASSES) == ModelSpec("convnet1", SHAPE, CLASSES, width=4)
    wanted = ModelSpec("resnet10", SHAPE, CLASSES, width=16, norm="group")
    assert network("resnet10:group", SHAPE, CLASSES) == network("resnet10", SHAPE, CLASSES, norm="group") == wanted
    assert another(wanted, "convnet1:2", width=8, norm="none") == ModelSpec("convnet1", SHAPE, CLASSES, width=2, norm="none")


@pytest.mark.parametrize("name", ["convnet1:4:8", "convnet1:weight", "resnet10:group:group", "convnet1:", "convnet1:-4"])
def test_what_else_stands_behind_a_name_is_refused(name):
    with pytest.raises(InputError, match="behind the name stand a width and a norm, each once"):
        network(name, SHAPE, CLASSES)


def test_a_width_beside_one_in_the_name_is_refused():
    with pytest.raises(InputError, match=r"convnet1:4'?: it has a width already, leave out width=8"):
        network("convnet1:4", SHAPE, CLASSES, width=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet10", ("resnet10", None)),
        ("resnet10:none", ("resnet10", "none")),
        ("torchvision:vgg11", ("torchvision:vgg11", None)),
        ("timm:resnet18.a1_in1k", ("timm:resnet18.a1_in1k", None)),
        ("torchvision:vgg11:batch", ("torchvision:vgg11", "batch")),
    ],
)
def test_a_name_with_a_norm(text, expected):
    assert read_name(text) == (expected[0], None, expected[1])
