"""Teachers by name from the cache of the Hub, off-line: files lie as huggingface_hub lays them, and the libraries read them."""

import json

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from refluence.cli import main
from refluence.transfer.artifact import Student
from support.command_line import pictures, read
from support.tiny_text import network_folder, text_folder

SHA = "0123456789abcdef0123456789abcdef01234567"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the Hub that nothing is in, as HF_HUB_CACHE and HF_HUB_OFFLINE make it before libraries are loaded."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def snapshot(hub, name):
    """The folder of the files of a model in the cache."""
    model = hub / f"models--{name.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(SHA)
    folder = model / "snapshots" / SHA
    folder.mkdir(parents=True)
    return folder


def transfer(capsys, out, *words):
    """What a run of one epoch says."""
    said = ["transfer", *words, "--mechanism", "kd", "--epochs", "1", "--threads", "1", "--out", str(out)]
    assert main(said) == 0, capsys.readouterr()
    return "".join(capsys.readouterr())


def normalised(x, mean, std):
    return (x - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


@pytest.mark.slow
def test_weights_of_timm_by_its_own_name(tmp_path, hub, capsys):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("resnet26", pretrained=False).eval()
    for tensor in theirs.state_dict().values():  # otherwise than a fresh network, batch statistics too
        if tensor.is_floating_point():
            tensor.mul_(1.25)
    folder = snapshot(hub, "timm/resnet26.bt_in1k")
    save_file(theirs.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet26", "num_classes": 1000}))
    data = pictures(tmp_path / "data", count=24, size=(32, 32))
    words = ("--data", str(data), "--teacher", "timm:resnet26", "--load-teacher", "pretrained", "--student", "convnet1:4")
    said = transfer(capsys, tmp_path / "run", *words)
    assert "a last layer for 2 classes is trained first" in said
    card, stored = (
        read(tmp_path / "run" / "teacher" / "card.json"),
        load_file(tmp_path / "run" / "teacher" / "model.safetensors"),
    )
    assert (card["mean"], card["std"]) == tuple(pytest.approx(each) for each in IMAGENET)
    kept = {name.removeprefix("body."): tensor for name, tensor in stored.items()}
    for name, tensor in theirs.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(kept[name], tensor), name
    assert stored["classifier.weight"].shape == (2, theirs.num_features)
    assert bool(stored["classifier.weight"].any()), "the new one is trained"
    assert read(tmp_path / "run" / "student" / "card.json")["teacher_accuracy"] > 50
    x = torch.rand(2, 3, 32, 32)
    want = theirs.forward_head(theirs.forward_features(normalised(x, *IMAGENET)), pre_logits=True)
    found = Student.load(tmp_path / "run" / "teacher").net
    torch.testing.assert_close(found.features(normalised(x, card["mean"], card["std"])), want, rtol=1e-4, atol=1e-4)


def test_a_classifier_of_images_by_its_name(tmp_path, hub, capsys):
    transformers = pytest.importorskip("transformers")
    names = {0: "dog", 1: "cat"}
    config = transformers.ViTConfig(
        image_size=16, patch_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        id2label=names, label2id={name: i for i, name in names.items()},
    )  # fmt: skip
    folder = snapshot(hub, "someone/tiny-vit")
    theirs = transformers.ViTForImageClassification(config).eval()
    theirs.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    data = pictures(tmp_path / "data", count=24, size=(16, 16))
    words = ("--data", str(data), "--load-teacher", "hf:someone/tiny-vit", "--student", "convnet1:4")
    said = transfer(capsys, tmp_path / "run", *words)
    assert "is trained first" not in said, "it knows these classes, in another order"
    card, stored = (
        read(tmp_path / "run" / "teacher" / "card.json"),
        load_file(tmp_path / "run" / "teacher" / "model.safetensors"),
    )
    assert (card["mean"], card["std"]) == ([0.5] * 3, [0.25] * 3)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(stored[f"module.{name}"], tensor[[1, 0]] if name.startswith("classifier.") else tensor), name


def test_a_classifier_of_texts_by_its_name(tmp_path, hub, capsys):
    transformers = pytest.importorskip("transformers")
    folder = network_folder(snapshot(hub, "someone/tiny-bert"))
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).eval()
    theirs.config.id2label, theirs.config.label2id = {0: "1", 1: "0"}, {"1": 0, "0": 1}
    theirs.save_pretrained(folder)
    data = text_folder(tmp_path / "data", train=60)
    words = ("--data", str(data), "--tokenizer", "hf:someone/tiny-bert", "--max-length", "12")
    words += ("--load-teacher", "hf:someone/tiny-bert", "--student", "hf:someone/tiny-bert:random")
    said = transfer(capsys, tmp_path / "run", *words)
    assert "is trained first" not in said
    stored = load_file(tmp_path / "run" / "teacher" / "model.safetensors")
    own = {name.removeprefix("model."): tensor for name, tensor in stored.items()}
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(own[name], tensor[[1, 0]] if name.startswith("classifier.") else tensor), name
