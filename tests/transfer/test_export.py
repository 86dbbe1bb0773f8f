"""A student for other tools: the file that the folder of a run gives, and what is refused."""

import json

import numpy as np
import pytest
import torch

import refluence as rf
from refluence.errors import InputError
from refluence.models import ModelSpec, build
from refluence.transfer.artifact import Student
from refluence.transfer.export import export_network, holds_network, usual_format
from support.draws import generator


@pytest.fixture
def student(tmp_path):
    spec = ModelSpec("convnet1", (1, 8, 8), 2, 4)
    made = Student(build(spec, generator()).eval(), spec, ("a", "b"), (0.3,), (0.2,))
    made.save(tmp_path / "run", {})
    return tmp_path / "run", made


def test_a_network_is_read_from_its_folder(student):
    folder, made = student
    again, x = Student.load(folder / "student"), torch.rand(3, 1, 8, 8, generator=generator(1))
    assert (again.model, again.classes, again.mean, again.std) == (made.model, made.classes, made.mean, made.std)
    assert torch.equal(again.net(x), made.net(x))


def test_onnx_takes_pixels_and_gives_the_logits_of_the_student(student, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    folder, made = student
    place = holds_network(folder)
    assert place == folder / "student"
    assert holds_network(place) == place
    said = export_network(place, usual_format(place), tmp_path / "out")
    assert "model.onnx" in said
    assert "opset 18" in said
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["README.md", "card.json", "model.onnx"]
    pixels = np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 1, 8, 8)
    session = runtime.InferenceSession(tmp_path / "out" / "model.onnx")
    (logits,) = session.run(None, {"images": pixels})
    want = made.net((torch.from_numpy(pixels) - 0.3) / 0.2).detach().numpy()
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-4)
    code = (tmp_path / "out" / "README.md").read_text().split("```")[1].removeprefix("python\n")
    printed = []
    exec(code.replace('"model.onnx"', repr(str(tmp_path / "out" / "model.onnx"))), {"print": printed.append})
    assert printed[0] in made.classes


def test_tensors_are_copied(student, tmp_path):
    folder, made = student
    export_network(folder / "student", "tensors", tmp_path / "out")
    again = Student.load(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "card.json").read_text())["parameters"] == made.parameters
    assert torch.equal(again.net.classifier.weight, made.net.classifier.weight)


@pytest.mark.parametrize(
    ("format", "expected"),
    [("parquet", "is for a distilled set: a network has onnx, transformers, tensors"),
     ("transformers", "a network for images has onnx or tensors")],
)  # fmt: skip
def test_other_formats_are_refused_and_nothing_is_written(student, tmp_path, format, expected):
    with pytest.raises(InputError, match=expected):
        export_network(student[0] / "student", format, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="is not empty"):
        export_network(student[0] / "student", "onnx", tmp_path / "full")


def test_the_command_exports_the_student_of_a_run(tmp_path, capsys):
    from refluence.cli import main

    rf.transfer(rf.load("digits", rows=200), "scratch", student="convnet1:4", epochs=1, out=tmp_path / "r")
    assert main(["export", str(tmp_path / "r"), "--format", "tensors"]) == 0
    assert "convnet1, width 4" in capsys.readouterr().out
    assert (tmp_path / "r" / "export-tensors" / "model.safetensors").is_file()
