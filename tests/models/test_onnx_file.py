"""ONNX files: equal to the network from raw pixels, at any batch; what they say of themselves; what is refused."""

import json

import pytest
import torch
from torch import nn

from refluence.errors import InputError
from refluence.models import ModelSpec, build, onnx_file
from refluence.models.onnx_file import export_onnx
from support.draws import generator

MEAN, STD, CLASSES = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3), ("a", "b", "ç")


def trained(name, width=None):
    net = build(ModelSpec(name, (3, 16, 16), 3, width), generator())
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.uniform_(-0.2, 0.2, generator=generator(3))
            m.running_var.uniform_(0.5, 2, generator=generator(4))
    net.classifier.weight.data.normal_(generator=generator(5))
    return net


WIDTHS = {"convnet1": 4, "resnet8x4": 4, "mobilenetv2": 4, "shufflenetv1": 36, "shufflenetv2": 4}
SLOW = ("mobilenetv2", "shufflenetv1", "shufflenetv2")


@pytest.mark.parametrize(
    ("name", "width"),
    [
        pytest.param(name, width, marks=[pytest.mark.slow, pytest.mark.release] * (name in SLOW))
        for name, width in WIDTHS.items()
    ],
)
def test_the_file_gives_the_logits_of_the_network(tmp_path, name, width):
    runtime = pytest.importorskip("onnxruntime")
    net = trained(name, width)
    file = export_onnx(net, (3, 16, 16), tmp_path / "model.onnx", classes=CLASSES, mean=MEAN, std=STD, model=name)
    assert net.training, "the network is left as it is"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("images", ["batch", 3, 16, 16])]
    assert [o.name for o in session.get_outputs()] == ["logits"]
    for count in (1, 5):
        x = torch.rand(count, 3, 16, 16, generator=generator(count))
        seen = (x - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)
        (logits,) = session.run(None, {"images": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), net.eval()(seen).detach(), rtol=1e-4, atol=1e-4)
        net.train()
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == list(CLASSES)
    assert (json.loads(said["mean"]), json.loads(said["std"]), said["model"]) == (list(MEAN), list(STD), name)


def test_what_onnx_cannot_say_is_one_line_and_leaves_no_file(tmp_path):
    pytest.importorskip("onnxscript")

    class Branching(nn.Module):
        def forward(self, x):
            return x.mean((1, 2, 3))[:, None] if x.sum() > 0 else x.flatten(1)[:, :1]

    with pytest.raises(InputError, match="Branching cannot be written as ONNX") as caught:
        export_onnx(Branching(), (1, 4, 4), tmp_path / "model.onnx", classes=("a",), mean=(0.0,), std=(1.0,))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_without_its_packages_it_says_which_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"needs onnxscript: pip install refluence\[export\]"):
        export_onnx(nn.Flatten(), (1, 2, 2), tmp_path / "m.onnx", classes=(), mean=(0.0,), std=(1.0,))
