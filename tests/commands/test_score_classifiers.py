"""Any classifier can be scored: a function in a file of the user, or weights that were trained before."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from refluence.data import load
from refluence.data.dataset import Dataset, Split
from refluence.data.foreign import doubts, mean_and_std
from refluence.errors import InputError
from refluence.matching.augment import parse
from refluence.models import network
from refluence.models.user_file import blamed
from support.command_line import pictures

QUICK = ("--folds", "2", "--epochs", "1", "--curvature", "identity", "--threads", "1", "--quiet")
ONE = ("--curvature", "identity", "--threads", "1", "--quiet")
MODEL = """
import random
import numpy as np
from torch import nn
from sizes import HIDDEN

def make(shape, classes):
    pixels = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, classes))

def wide(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes + 1))

def flat(shape, classes):
    return nn.Linear(3, classes)

def frozen(shape, classes):
    return make(shape, classes).requires_grad_(False)

def text(shape, classes):
    return "a network"

def broken(shape, classes):
    raise ValueError("no such layer")

class Heads(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return (self.net(x), x) if self.training else self.net(x)

class After(nn.Module):
    def __init__(self, net, after):
        super().__init__()
        self.net, self.after = net, after

    def forward(self, x):
        return self.after(self.net(x))

def several(shape, classes):
    return Heads(make(shape, classes))

def squeezed(shape, classes):
    return After(make(shape, classes), lambda x: x.squeeze())

def detached(shape, classes):
    return After(make(shape, classes), lambda x: x.detach())

def whole(shape, classes):
    return After(make(shape, classes), lambda x: x.long())

def infinite(shape, classes):
    return After(make(shape, classes), lambda x: x / 0)

class Writing(nn.Sequential):
    def forward(self, x):
        return super().forward(x.sub_(0.5))

def writing(shape, classes):
    return Writing(make(shape, classes))

class Exported(nn.Sequential):
    def train(self, mode=True):
        raise NotImplementedError("train() is not supported")

def exported(shape, classes):
    return Exported(make(shape, classes))

def leaving(shape, classes):
    raise SystemExit("no GPU")

def norm(shape, classes):
    return nn.Sequential(nn.BatchNorm2d(shape[0], track_running_stats=False), make(shape, classes))

number = 3

class Noisy(nn.Module):
    def __init__(self, shape, classes, always):
        super().__init__()
        self.body, self.always = make(shape, classes), always

    def forward(self, x):
        if self.training or self.always:
            x = nn.functional.dropout(x, 0.3) * np.random.rand() + random.random()
        return self.body(x)

def noisy(shape, classes):
    np.random.rand()
    return Noisy(shape, classes, False)

def left_on(shape, classes):
    return Noisy(shape, classes, True)

def unseeded(shape, classes):
    net = make(shape, classes)
    net[1].bias.data.fill_(float(np.random.default_rng().random()))
    return net

def lazy(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(HIDDEN), nn.Dropout(), nn.LazyLinear(classes))

SHARED = nn.Linear(192, 2)

def shared(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Dropout(), SHARED)

class Auxiliary(nn.Linear):
    def forward(self, x):
        found = super().forward(x.flatten(1))
        return (found, found) if self.training else found

def auxiliary(shape, classes):
    return Auxiliary(shape[0] * shape[1] * shape[2], classes)
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "sizes.py").write_text("HIDDEN = 5\n")
    (tmp_path / "own.py").write_text(MODEL)
    return tmp_path / "own.py"


@pytest.fixture
def pets(tmp_path):
    return pictures(tmp_path / "pets", count=12)


def scores(path):
    return np.array(pq.read_table(path).column("score"))


def test_a_function_in_a_file_makes_the_network(refluence, pets, file, tmp_path):
    before = torch.random.get_rng_state()
    for name, more in (("a", ()), ("b", ()), ("c", ("--seed", "1"))):
        out = tmp_path / f"{name}.parquet"
        said = refluence("score", "--data", pets, "--model", f"{file}:make", *QUICK, "--out", out, *more)
        assert said.code == 0, said.err
    assert "own.py:make" in said.out
    a, b, c = (tmp_path / f"{name}.parquet" for name in "abc")
    assert a.read_bytes() == b.read_bytes(), "its random start follows from the seed"
    assert not np.allclose(scores(a), scores(c))
    assert torch.equal(torch.random.get_rng_state(), before)
    resume = ("score", "--data", pets, "--model", f"{file}:make", *QUICK, "--out", a, "--resume")
    assert "nothing to do" in refluence(*resume).out
    file.write_text(MODEL + "\n# another network\n")
    assert "model.sha256" in refluence(*resume).err


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("own.py", ["expected FILE.py:FUNCTION"]),
        ("nowhere.py:make", ["there is no file"]),
        ("own.py:mark", ["has no function 'mark'"]),
        ("own.py:number", ["has no function 'number'"]),
        ("own.py:wide", ["gives (2, 3)", "3 x 8 x 8", "(2, 2)"]),
        ("own.py:flat", ["fails on 2 images of 3 x 8 x 8", "RuntimeError"]),
        ("own.py:frozen", ["no parameter"]),
        ("own.py:text", ["returned a str"]),
        ("own.py:broken", ["ValueError: no such layer"]),
        ("own.py:several", ["gives a tuple for 2 images of 3 x 8 x 8 while it trains"]),
        ("own.py:squeezed", ["gives (2,) for 1 image", "expected logits (1, 2)"]),
        ("own.py:detached", ["has no gradient"]),
        ("own.py:whole", ["gives torch.int64", "floats"]),
        ("own.py:infinite", ["logits that are not finite"]),
        ("own.py:writing", ["writes into the instances"]),
        ("own.py:exported", ["NotImplementedError: train() is not supported"]),
        ("own.py:leaving", ["SystemExit: no GPU"]),
        ("own.py:norm", ["own.py:norm cannot be scored: layer '0' normalises", "--terms explicit"]),
        ("own.py:left_on", ["random in evaluation mode", "forward of Noisy", "if self.training"]),
        ("own.py:unseeded", ["random numbers that no seed holds", "1.bias differs"]),
        ("own.py:shared", ["not a new one each time", "2.weight is made once"]),
        ("own.py:auxiliary", ["gives a tuple for 2 images of 3 x 8 x 8 while it trains"]),
        ("bad.py:make", ["bad.py cannot be imported", "SyntaxError"]),
        ("own.py:make --width 8", ["--width 8 is for a convnet"]),
    ],
)
def test_files_that_make_no_classifier(refused, pets, file, tmp_path, monkeypatch, name, expected):
    (tmp_path / "bad.py").write_text("def make(:\n")
    monkeypatch.chdir(tmp_path)
    message = refused("score", "--data", pets, *QUICK, "--out", tmp_path / "s.parquet", "--model", *name.split())
    assert all(word in message for word in expected), message
    assert not (tmp_path / "s.parts").exists()


@pytest.mark.parametrize("name", ["noisy", "lazy"])
def test_a_network_that_draws_random_numbers_gives_the_same_bits_after_a_stop(
    refluence, pets, file, tmp_path, monkeypatch, name
):
    from refluence.score import folds_work

    words = ("score", "--data", pets, "--model", f"{file}:{name}", *QUICK, "--out")
    torch.manual_seed(1)
    assert refluence(*words, tmp_path / "whole.parquet").code == 0
    torch.manual_seed(2)
    real = folds_work.score_fold

    def first_alone(*given, **named):
        if given[3]:
            raise KeyboardInterrupt
        return real(*given, **named)

    monkeypatch.setattr(folds_work, "score_fold", first_alone)
    assert refluence(*words, tmp_path / "part.parquet").code == 130
    monkeypatch.setattr(folds_work, "score_fold", real)
    torch.manual_seed(3)
    assert refluence(*words, tmp_path / "part.parquet", "--resume").code == 0
    assert (tmp_path / "part.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert refluence(*words, tmp_path / "other.parquet", "--seed", "1").code == 0
    assert not np.allclose(scores(tmp_path / "other.parquet"), scores(tmp_path / "whole.parquet"))


def test_what_training_alone_would_need_is_not_asked_of_a_network_that_is_loaded(file):
    for name in ("auxiliary", "unseeded"):
        network(f"{file}:{name}", (3, 8, 8), 2, trains=False)
        with pytest.raises(InputError):
            network(f"{file}:{name}", (3, 8, 8), 2)
    with pytest.raises(InputError, match="random in evaluation mode"):
        network(f"{file}:left_on", (3, 8, 8), 2, trains=False)


def test_lazy_layers_have_their_weights_from_the_seed(file):
    made = network(f"{file}:lazy", (3, 8, 8), 2).bare
    first, again, other = (made(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


@pytest.fixture
def trained(refluence, distilled):
    """What `evaluate --save-model` leaves."""
    words = ("evaluate", distilled, "--split", "val", "--epochs", "2", "--nets", "1", "--threads", "1", "--quiet")
    assert refluence(*words, "--norm", "group", "--save-model").code == 0
    return distilled / "model.safetensors"


def test_a_trained_network_scores_everything(refluence, refused, trained, tmp_path):
    out = tmp_path / "s.parquet"
    said = refluence("score", "--data", "digits", "--load", trained, *ONE, "--out", out)
    assert said.code == 0, said.err
    assert "convnet1, width 8, group norm" in said.out, "the file knows its network"
    table = pq.read_table(out).to_pydict()
    assert set(table["fold"]) == {None}
    assert len(set(table["index"])) == 1295
    told = json.loads(pq.read_schema(out).metadata[b"refluence"])
    assert (told["folds"], len(told["validation"]["accuracies"])) == (None, 1)
    assert str(trained) in (tmp_path / "s.html").read_text(encoding="utf-8")
    assert not (tmp_path / "s.parts").exists()
    words = ("score", "--data", "digits", "--load", trained, *ONE, "--out", tmp_path / "t.parquet")
    assert "--folds 3 means nothing with --load" in refused(*words, "--folds", "3")
    assert "--epochs 3 means nothing with --load" in refused(*words, "--epochs", "3")


def test_weights_that_do_not_fit(refused, trained, pets, tmp_path):
    def said(path, *more, data="digits"):
        return refused("score", "--data", data, "--load", path, *ONE, "--out", tmp_path / "s.parquet", *more)

    assert "body.0.weight is (8, 1, 3, 3) there, (4, 1, 3, 3) in this network" in said(trained, "--width", "4")
    tensors = load_file(trained)
    other = tmp_path / "other.safetensors"
    save_file({name: t for name, t in tensors.items() if name != "classifier.bias"}, other)
    assert "classifier.bias is missing" in said(other, "--width", "8", "--norm", "group")
    save_file({**tensors, "head.weight": torch.zeros(1)}, other)
    assert "this network has no head.weight" in said(other, "--width", "8", "--norm", "group")
    save_file({**tensors, "classifier.bias": torch.full((10,), torch.nan)}, other)
    assert "classifier.bias has values that are not finite" in said(other)
    other.write_bytes(b"x")
    assert "cannot be read as safetensors" in said(other)
    other.write_bytes(b"")
    assert "other.safetensors is empty" in said(other)
    other.write_bytes(trained.read_bytes()[:-7])
    assert "cannot be read as safetensors" in said(other)
    other.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in said(other)
    save_file({}, other)
    assert "holds no tensor" in said(other)
    for header in ("[]", '{"classes": 3}', '{"width": "8"}', '{"mean": 0.5}', "{"):
        save_file(tensors, other, {"refluence": header})
        assert "other.safetensors" in said(other)
    assert f"did you mean {trained}?" in said(trained.parent)
    assert "is a folder" in said(tmp_path)
    assert "there is no such file" in said(tmp_path / "nothing.safetensors")
    assert "trained on the classes 0, 1, 2" in said(trained, "--image-size", "8", data=pets)


def test_a_pickle_is_not_loaded_and_the_line_that_converts_it_works(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = torch.nn.Linear(3, 2)
    torch.save({"epoch": 3, "state_dict": net.state_dict()}, "last.ckpt")
    message = refused("score", "--data", "digits", "--load", "last.ckpt", *ONE)
    exec(message.partition("once in Python: ")[2], {})
    assert torch.equal(load_file("last.safetensors")["weight"], net.weight)


SEEN = """
from torch import nn

def make(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A network that was trained on digits whose pixels it knows as 4 times as bright, in a folder with its file."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "net.py").write_text(SEEN)
    data = load("digits")
    x, y = data.normalised_as((0.9,), (0.05,)).pixels(data.train).flatten(1), data.train.labels
    torch.manual_seed(0)
    net = torch.nn.Linear(64, 10)
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(100):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    save_file({f"model.1.{name}": tensor for name, tensor in net.state_dict().items()}, folder / "net.safetensors")
    return folder


def test_pixels_and_names_of_a_network_from_elsewhere(refluence, refused, elsewhere, tmp_path):
    words = ("score", "--data", "digits", "--model", f"{elsewhere / 'net.py'}:make", "--load", elsewhere / "net.safetensors")
    words = (*words, "--threads", "1", "--terms", "explicit", "--out")
    said = refluence(*words, tmp_path / "a.parquet")
    assert said.code == 0, said.err
    assert "left off its names: model." in said.err
    assert "here they are by mean 0.305 and std 0.376 of the training split; --pixels names others" in said.err
    assert "may be misread" not in said.err
    right = refluence(*words, tmp_path / "b.parquet", "--pixels", "0.9:0.05")
    assert "normalised" not in right.err
    accuracy = [float(re.search(r"([\d.]+) % validation", each.out)[1]) for each in (said, right)]
    assert accuracy[1] > accuracy[0] + 3, accuracy
    assert "less 0.9, divided by 0.05" in (tmp_path / "b.html").read_text(encoding="utf-8")
    other = refused(*words, tmp_path / "b.parquet", "--resume", "--pixels", "unit", "--quiet")
    assert "data.mean is [0.9] there, [0.0] here" in other


def test_another_order_of_classes_is_said_before_the_work(refluence, elsewhere, tmp_path):
    tensors = load_file(elsewhere / "net.safetensors")
    save_file({name: tensor.roll(1, 0) for name, tensor in tensors.items()}, tmp_path / "rolled.safetensors")
    words = ("score", "--data", "digits", "--model", f"{elsewhere / 'net.py'}:make", "--load", tmp_path / "rolled.safetensors")
    said = refluence(*words, *ONE, "--terms", "explicit", "--pixels", "0.9:0.05", "--out", tmp_path / "a.parquet")
    assert "rolled.safetensors may be misread" in said.err, "quiet or not"
    assert "if its classes stood in another order (its output 1 is '0', its output 2 is '1', its output 3 is '2' …)" in said.err


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ("imagenet", "numbers for 3 channels, the images of digits have 1"),
        ("0.5", "expected data, unit"),
        ("0.5:0", "above 0"),
        ("nan:1", "finite"),
        ("a:b", "expected data, unit"),
        ("1:2:3", "expected data, unit"),
        ("1,2:3,4", "numbers for 2 channels"),
    ],
)
def test_pixels_that_cannot_be(pixels, expected):
    with pytest.raises(InputError, match=expected):
        mean_and_std(pixels, load("digits"))


def test_pixels_need_a_network_from_elsewhere(refused, tmp_path):
    assert "it goes with --load" in refused(
        "score", "--data", "digits", "--pixels", "unit", *ONE, "--out", tmp_path / "a.parquet"
    )


def doubt(known, order=None, classes=3, channels=3):
    """What is said of a perfect classifier of three greys: `known` undoes how it knows pixels, classes stand in `order`."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % classes
    images = torch.randint(0, 40, (60, channels, 4, 4), generator=draw, dtype=torch.uint8)
    images += (labels * 70).view(-1, 1, 1, 1).to(torch.uint8)
    split = Split(images, labels, torch.arange(60))
    dataset = Dataset("made", tuple("abc"), split, split, split, (0.0,) * channels, (1.0,) * channels)

    class Levels(torch.nn.Module):
        def forward(self, x):
            level = known(x).mean((1, 2, 3))
            found = -torch.stack([(level - (20 + 70 * c) / 255).abs() for c in range(classes)], 1)
            return found if order is None else found[:, order]

    return doubts(Levels(), dataset, "cpu")


def test_doubts_name_what_would_be_better():
    unit, signed, order = (lambda x: x), (lambda x: (x + 1) / 2), [2, 0, 1]
    assert doubt(unit) is None
    assert doubt(signed).endswith("% of 60 training images, and would be on 100 % with pixels='signed'")
    assert "would be on 100 % if its classes stood in another order (its output 1 is 'a'" in doubt(unit, order)
    assert "(its output 1 is 'a', its output 2 is 'b', its output 0 is 'c'), and with pixels='signed'" in doubt(signed, order)
    assert "right on 33 % of 60 training images, hardly better than guessing (33 %)" in doubt(lambda x: x + 99)
    assert doubt(lambda x: x * 0.23 + 0.35, channels=1).endswith("on 100 % with pixels='data'"), "images are given as they came"


LATER = """
from torch import nn

class Later(nn.Module):
    def __init__(self, pixels, classes):
        super().__init__()
        self.net = nn.Linear(pixels, classes)

    def forward(self, x):
        if len(x) > 4:  # more than it is tried on
            {failure}
        return self.net(x.flatten(1))

def make(shape, classes):
    return Later(shape[0] * shape[1] * shape[2], classes)
"""


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("raise KeyError('scale')", "KeyError: 'scale'"),
        ("open('/nowhere/at.all')", "FileNotFoundError: "),
        ("x.reshape(7, 7, 7, 7, 7)", "RuntimeError: shape '[7, 7, 7, 7, 7]' is invalid"),
        ("nn.functional.conv2d(x, x[:, :, 0])", "RuntimeError: "),
    ],
)
def test_a_network_of_the_user_that_fails_later_is_no_bug_of_ours(refused, pets, tmp_path, failure, said):
    (tmp_path / "later.py").write_text(LATER.format(failure=failure))
    message = refused(
        "score", "--data", pets, "--model", f"{tmp_path / 'later.py'}:make", *QUICK, "--out", tmp_path / "s.parquet"
    )
    assert "the network that you gave fails: " in message
    assert "later.py, line 11, in forward: " in message
    assert said in message


@pytest.mark.parametrize("mistake", [lambda: parse("no such", "M"), lambda: torch.zeros(2).view(3)])
def test_our_own_mistakes_stay_ours(file, mistake):
    network(f"{file}:make", (3, 8, 8), 2)
    with pytest.raises((InputError, RuntimeError)) as caught:
        mistake()
    assert blamed(caught.value) is None
