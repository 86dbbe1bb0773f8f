"""Teachers whose weights are there already, in a run: their own normalisation, a new last layer where needed."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import interpolate

import refluence as rf
from refluence.errors import InputError
from refluence.jobs.repeat import repeat_run
from refluence.jobs.teachers import teacher_of
from refluence.models import ModelSpec, build
from refluence.models.stored import save_model
from refluence.options import TransferOptions
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
