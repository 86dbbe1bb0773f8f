"""Teachers whose weights are there already, in a run: their own normalisation, a new last layer where needed."""

import json
import pickle
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

import refluence as rf
from refluence.cli import main
from refluence.errors import InputError, in_flags
from refluence.jobs.open_run import open_student
from refluence.jobs.repeat import repeat_run
from refluence.jobs.teachers import equipped, teacher_of
from refluence.models import ModelSpec, build
from refluence.models.stored import save_model
from refluence.options import TransferOptions
from refluence.transfer.artifact import Student
from support.draws import generator


@pytest.fixture(scope="module")
def data():
    return rf.load("digits", rows=200)


def stored(folder, data, mean, std):
    spec = ModelSpec("convnet1", data.shape, 10, 4)
    net = build(spec, generator()).eval()
    about = type("About", (), {"classes": data.classes, "mean": mean, "std": std})
    save_model(folder / "model.safetensors", net, spec, about)
    return net


def test_a_teacher_sees_images_as_it_was_trained(tmp_path, data):
    net = stored(tmp_path, data, (0.0,), (1.0,))
    teacher = teacher_of(TransferOptions(load_teacher=str(tmp_path)), data)
    assert (teacher.loaded.mean, teacher.model.name) == ((0.0,), "convnet1")
    raw = data.normalised_as((0.0,), (1.0,)).pixels(data.val)
    torch.testing.assert_close(teacher.loaded.net(data.pixels(data.val)), net(raw), rtol=1e-4, atol=1e-4)


def test_the_folder_of_a_run_gives_its_teacher_again(tmp_path, data):
    stored(tmp_path / "t", data, data.mean, data.std)
    options = dict(load_teacher=str(tmp_path / "t"), student="convnet1:4", epochs=1)
    first = rf.transfer(data, "kd", out=tmp_path / "a", **options)
    assert rf.transfer(data, "kd", out=tmp_path / "b", **options).accuracy == first.accuracy
    assert json.loads((tmp_path / "a" / "teacher" / "card.json").read_text())["mean"] == pytest.approx(data.mean)
    again = rf.transfer(data, "kd", load_teacher=str(tmp_path / "a"), student="convnet1:4", epochs=1)
    assert again.accuracy == first.accuracy


def test_other_classes_get_a_new_last_layer(tmp_path, data):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=7).eval()
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    settings = {"mean": [0.4, 0.5, 0.6], "std": [0.2] * 3, "input_size": [3, 160, 160]}
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "test_resnet", "num_classes": 7, "pretrained_cfg": settings})
    )
    asked = {"teacher": "timm:test_resnet", "load_teacher": f"hf:{tmp_path}:16"}
    rf.transfer(data, "kd", student="convnet1:4", epochs=1, out=tmp_path / "r", **asked)
    found, x = teacher_of(TransferOptions(load_teacher=str(tmp_path / "r")), data).loaded.net, data.pixels(data.train)
    assert (found(x).argmax(1) == data.train.labels).float().mean() > 0.5
    seen = interpolate(found.images(x), (16, 16)).repeat(1, 3, 1, 1)
    card = json.loads((tmp_path / "r" / "teacher" / "card.json").read_text())
    assert card["mean"] == pytest.approx([0.5])
    torch.testing.assert_close(found.features(x), net.forward_head(net.forward_features(seen), pre_logits=True))
    again = repeat_run(tmp_path / "r", tmp_path / "again")
    assert (again.names, again.differing) == ((".",), ())


def test_a_teacher_of_other_data_is_refused_before_anything_is_written(tmp_path, data):
    stored(tmp_path / "t", data, data.mean, data.std)
    other = rf.load((torch.rand(60, 1, 8, 8), torch.arange(60) % 3))
    with pytest.raises(InputError, match=r"knows 10 classes .* these data have 3"):
        rf.transfer(other, "kd", load_teacher=str(tmp_path / "t"), student="convnet1:4", epochs=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def taught_on_unit_pixels(data, width=16):
    """A network that is right on most digits, where it sees their pixels of 0 to 1 as they are."""
    raw = data.normalised_as((0.0,), (1.0,))
    spec = ModelSpec("convnet1", data.shape, 10, width)
    net = build(spec, generator())
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        cross_entropy(net(raw.pixels(raw.train)), raw.train.labels).backward()
        optimiser.step()
    return net.eval(), raw


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    """A file without our header, of a network of width 16."""
    net, raw = taught_on_unit_pixels(data)
    path = tmp_path_factory.mktemp("plain") / "plain.safetensors"
    save_file(net.state_dict(), path)
    return path, net, raw


class Shifted(nn.Module):
    """Wrong but where its pixels are of 0 to 1."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x) * (x.amin((1, 2, 3)) >= 0).float()[:, None]


def test_what_a_teachers_pixels_were_normalised_by_can_be_said(data, plain):
    path, net, raw = plain
    for asked in (
        {"teacher": "convnet1:16", "load_teacher": str(path), "teacher_pixels": "unit"},
        {"teacher": net, "teacher_pixels": "0:1"},
    ):
        teacher = teacher_of(TransferOptions(**asked), data)
        assert (teacher.loaded.mean, teacher.loaded.std) == ((0.0,), (1.0,))
        torch.testing.assert_close(teacher.loaded.net(data.pixels(data.val)), net(raw.pixels(raw.val)), rtol=1e-3, atol=1e-3)


def test_a_teacher_that_may_be_misread_is_warned_of(data, plain):
    path, net, _ = plain
    shifted = Shifted(net).eval()
    with pytest.warns(UserWarning, match=r"teacher Shifted\(\) may be misread: .* with teacher_pixels='unit'"):
        teacher_of(TransferOptions(teacher=shifted), data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        teacher_of(TransferOptions(teacher=shifted, teacher_pixels="unit"), data)
        teacher_of(TransferOptions(teacher="convnet1:16", load_teacher=str(path), teacher_pixels="unit"), data)


def test_pixels_of_a_teacher_are_refused_where_they_mean_nothing(tmp_path, data):
    stored(tmp_path, data, (0.0,), (1.0,))
    with pytest.raises(InputError, match="trained already: add load_teacher='FILE'"):
        teacher_of(TransferOptions(teacher="convnet1:4", teacher_pixels="unit"), data)
    with pytest.raises(InputError, match="says itself how pixels are normalised: leave out teacher_pixels"):
        teacher_of(TransferOptions(load_teacher=str(tmp_path), teacher_pixels="unit"), data)
    with in_flags(), pytest.raises(InputError, match="--teacher-pixels grey: expected data, unit"):
        teacher_of(TransferOptions(teacher="convnet1:4", load_teacher=str(tmp_path), teacher_pixels="grey"), data)


def test_a_teacher_of_another_width_is_read_again_elsewhere(tmp_path, data, plain):
    path, net, raw = plain
    asked = {"teacher": "convnet:16", "load_teacher": str(path), "teacher_pixels": "unit", "student": "convnet1:4", "epochs": 1}
    run = rf.transfer(data, "kd", out=tmp_path / "run", **asked)
    job = pickle.loads(pickle.dumps(run.job))
    for plan in (job.plan, plan_of_folder(tmp_path / "run")):
        found = equipped(plan, data).teacher.loaded.net
        torch.testing.assert_close(found(data.pixels(data.val)), net(raw.pixels(raw.val)), rtol=1e-3, atol=1e-3)
    again = repeat_run(tmp_path / "run", tmp_path / "again")
    assert (again.names, again.differing) == ((".",), ())


def plan_of_folder(folder):
    return open_student(folder).plan


NETS = """
from torch import nn

def big(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))

def wrong(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes + 1))
"""


def test_errors_name_the_options_of_a_transfer(tmp_path, data, plain):
    (tmp_path / "NETS.py").write_text(NETS)
    wrong, path = f"{tmp_path}/NETS.py:wrong", str(plain[0])
    refused = [
        ({"teacher": wrong}, "^--teacher .*NETS.py:wrong: the network gives"),
        ({"load_teacher": path}, r"plain.safetensors does not fit convnet1.*add --teacher NETS.py:big"),
        ({"teacher": "convnet1:8", "load_teacher": path}, r"\(--teacher says which network it is, .* convnet3:128:batch\)"),
        ({"teacher": "convnet1:4:sideways"}, "^--teacher convnet1:4:sideways: behind the name"),
    ]
    for asked, line in refused:
        with in_flags(), pytest.raises(InputError, match=line) as caught:
            teacher_of(TransferOptions(**asked), data)
        assert "--model" not in str(caught.value)
        assert "--width" not in str(caught.value)
    with pytest.raises(InputError, match=r"^student .*NETS.py:wrong: the network gives"):
        rf.transfer(data, "scratch", student=wrong)


def test_a_file_that_has_changed_still_makes_a_stored_student(tmp_path, data, capsys):
    file = tmp_path / "NETS.py"
    file.write_text(NETS)
    run = rf.transfer(data, "scratch", student=f"{file}:big", epochs=1, out=tmp_path / "run")
    file.write_text(f"{NETS}\n\ndef unrelated():\n    return 1\n")
    with pytest.warns(UserWarning, match=r"NETS\.py has changed since the run: the weights in .* fit"):
        again = rf.StudentRun.load(tmp_path / "run")
    assert torch.equal(again.student.net(data.pixels(data.val)), run.student.net(data.pixels(data.val)))
    with pytest.warns(UserWarning, match="has changed since the run"):
        assert Student.load(tmp_path / "run" / "student").parameters == run.student.parameters
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "NETS.py has changed since the run: the weights in" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"NETS\.py has changed since the run"):
        repeat_run(tmp_path / "run", tmp_path / "again")
    file.write_text(NETS.replace("nn.Flatten(),", "nn.Identity(), nn.Flatten(),"))
    with pytest.raises(InputError, match=r"NETS\.py has changed since the run, and does not make its network any more: .*fit"):
        rf.StudentRun.load(tmp_path / "run")
