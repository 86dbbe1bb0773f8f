"""Weights that are there already: their own normalisation, size and classes; folders of the Hub; what is refused."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import interpolate

from refluence.errors import InputError
from refluence.models import ModelSpec, build, hub, pretrained
from refluence.models.pretrained import load_teacher
from refluence.models.renormalised import Renormalised
from refluence.models.stored import read_model, save_model
from support.draws import generator

CLASSES = ("cat", "dog", "eel")
OURS = ((0.2, 0.3, 0.4), (0.5, 0.6, 0.7))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def pixels(*shape):
    return torch.rand(*shape, generator=generator(1))


def normalised(x, mean, std):
    return (x - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def scattered(net):
    for p in net.parameters():
        p.data.copy_(0.2 * torch.randn(p.shape, generator=generator(p.numel())))
    return net.eval()


@pytest.fixture
def timm_folder(tmp_path):
    timm = pytest.importorskip("timm")
    net = scattered(timm.create_model("test_resnet", num_classes=3))
    config = {"architecture": "test_resnet", "num_classes": 3, "label_names": ["eel", "cat", "dog"],
              "pretrained_cfg": {"mean": IMAGENET[0], "std": IMAGENET[1], "input_size": [3, 160, 160]}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    return tmp_path, net


def test_images_are_seen_as_the_network_knows_them():
    x, theirs = pixels(2, 3, 8, 8), ((0.1, 0.2, 0.3), (0.9, 0.8, 0.7))
    seen = Renormalised(nn.Identity(), OURS, theirs)(normalised(x, *OURS))
    torch.testing.assert_close(seen, normalised(x, *theirs))
    large = Renormalised(nn.Identity(), OURS, theirs, size=16)(normalised(x, *OURS))
    torch.testing.assert_close(large, interpolate(normalised(x, *theirs), (16, 16), mode="bilinear", antialias=True))
    grey = Renormalised(nn.Identity(), ((0.5,), (0.25,)), theirs)(normalised(x[:, :1], (0.5,), (0.25,)))
    torch.testing.assert_close(grey, normalised(x[:, :1].repeat(1, 3, 1, 1), *theirs))
    assert torch.equal(Renormalised(nn.Identity(), OURS, ((), ()))(x), x)
    with pytest.raises(InputError, match="takes images of 3 channels, these have 2"):
        Renormalised(nn.Identity(), ((0.5, 0.5), (1.0, 1.0)), theirs)


def test_its_state_is_that_of_the_network():
    net = Renormalised(nn.Linear(2, 3), ((0.5,), (0.5,)), ((0.0,), (1.0,)))
    assert list(net.state_dict()) == ["net.weight", "net.bias"]


def test_a_folder_of_timm(timm_folder):
    folder, net = timm_folder
    found = load_teacher(str(folder), None, (3, 32, 32), ("eel", "cat", "dog"))
    assert (found.spec.name, found.mean, found.std, found.needs_head) == ("timm:test_resnet", *IMAGENET, False)
    x = pixels(2, 3, 32, 32)
    want = net(normalised(x, *IMAGENET))
    torch.testing.assert_close(found.beside(*OURS)(normalised(x, *OURS)), want, rtol=1e-4, atol=1e-4)
    ordered = load_teacher(f"hf:{folder}", "timm:test_resnet", (3, 32, 32), CLASSES)
    torch.testing.assert_close(ordered.net(normalised(x, *IMAGENET)), want[:, [1, 2, 0]], rtol=1e-4, atol=1e-4)
    assert ordered.sha256 == found.sha256
    assert not ordered.net.training
    with pytest.raises(InputError, match="holds timm:test_resnet, and teacher is timm:resnet26"):
        load_teacher(str(folder), "timm:resnet26", (3, 32, 32), CLASSES)


def test_other_classes_need_a_new_last_layer(timm_folder):
    folder, _ = timm_folder
    for classes in (("a", "b"), ("cat", "dog", "owl")):
        found = load_teacher(str(folder), None, (3, 32, 32), classes)
        assert found.needs_head
        assert (found.spec.classes, found.classes) == (len(classes), classes)
        assert torch.equal(found.net(pixels(2, 3, 32, 32)), torch.zeros(2, len(classes)))


def test_grey_images_and_a_size_of_its_own(timm_folder):
    folder, net = timm_folder
    found = load_teacher(f"hf:{folder}:48", None, (1, 16, 16), ("eel", "cat", "dog"))
    assert (found.size, found.spec.shape, len(found.mean)) == (48, (1, 48, 48), 1)
    x = pixels(2, 1, 16, 16)
    large = interpolate(normalised(x, found.mean, found.std), (48, 48), mode="bilinear", antialias=True)
    want = net(large.repeat(1, 3, 1, 1))
    torch.testing.assert_close(found.beside((0.3,), (0.2,))(normalised(x, (0.3,), (0.2,))), want, rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="images of 4 pixels are too small"):
        load_teacher("pretrained:4", "timm:test_resnet", (3, 32, 32), CLASSES)


def test_it_is_stored_with_its_own_normalisation_and_read_again(timm_folder, tmp_path):
    found = load_teacher(f"hf:{timm_folder[0]}:48", None, (3, 32, 32), CLASSES)
    net = found.beside(*OURS)
    save_model(
        tmp_path / "out" / "model.safetensors", net, found.spec, SimpleNamespace(classes=CLASSES, mean=OURS[0], std=OURS[1])
    )
    again = load_teacher(str(tmp_path / "out"), None, (3, 32, 32), CLASSES)
    assert (again.mean, again.std, again.size, again.spec) == (found.mean, found.std, 48, found.spec)
    x = pixels(2, 3, 32, 32)
    assert torch.equal(again.beside(*OURS)(x), net(x))


def test_weights_of_torchvision_come_from_its_cache(tmp_path, monkeypatch):
    from torchvision.models import ShuffleNet_V2_X0_5_Weights, shufflenet_v2_x0_5

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    theirs = shufflenet_v2_x0_5().eval()
    (tmp_path / "checkpoints").mkdir()
    torch.save(theirs.state_dict(), tmp_path / "checkpoints" / ShuffleNet_V2_X0_5_Weights.DEFAULT.url.rpartition("/")[2])
    found = load_teacher("pretrained", "torchvision:shufflenet_v2_x0_5", (3, 32, 32), CLASSES)
    assert (found.mean, found.std, found.needs_head, found.spec.classes) == (*IMAGENET, True, 3)
    known = tuple(ShuffleNet_V2_X0_5_Weights.DEFAULT.meta["categories"])
    whole = load_teacher("pretrained", "torchvision:shufflenet_v2_x0_5", (1, 32, 32), known)
    assert not whole.needs_head
    assert len(whole.mean) == 1
    x = pixels(2, 1, 32, 32)
    torch.testing.assert_close(whole.net(x), theirs(x.repeat(1, 3, 1, 1)))


def transformers_folder(tmp_path, **more):
    transformers = pytest.importorskip("transformers")
    names = dict(enumerate(("eel", "cat", "dog")))
    config = transformers.ViTConfig(
        image_size=16, patch_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        id2label=names, label2id={name: i for i, name in names.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    net = scattered(transformers.ViTForImageClassification(config))
    net.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3, **more}))
    return tmp_path, net


def test_a_folder_of_transformers(tmp_path):
    folder, net = transformers_folder(tmp_path)
    found = load_teacher(f"hf:{folder}", None, (3, 8, 8), CLASSES)
    assert (found.spec.name, found.spec.classes, found.size) == ("ViTForImageClassification()", 3, 16)
    x = pixels(2, 3, 8, 8)
    large = interpolate(normalised(x, [0.5] * 3, [0.25] * 3), (16, 16), mode="bilinear", antialias=True)
    want = net(pixel_values=large).logits[:, [1, 2, 0]]
    torch.testing.assert_close(found.beside(*OURS)(normalised(x, *OURS)), want, rtol=1e-4, atol=1e-5)
    other = load_teacher(str(folder), None, (1, 8, 8), ("a", "b"))
    assert other.needs_head
    assert other.beside((0.3,), (0.2,))(pixels(2, 1, 8, 8)).shape == (2, 2)
    assert other.beside((0.3,), (0.2,)).features(pixels(2, 1, 8, 8)).shape == (2, 8)
    again = load_teacher(str(folder), found.spec.name, (3, 8, 8), CLASSES)
    assert again.sha256 == found.sha256
    with pytest.raises(InputError, match="says itself which network it is: leave out teacher"):
        load_teacher(str(folder), "convnet3", (3, 8, 8), CLASSES)


def test_without_weights_of_its_last_layer_it_is_a_new_one(tmp_path):
    folder, net = transformers_folder(tmp_path, do_normalize=False)
    save_file({k: t for k, t in net.state_dict().items() if not k.startswith("classifier")}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    found = load_teacher(str(folder), None, (3, 16, 16), CLASSES)
    assert found.needs_head
    assert found.mean == (0.0, 0.0, 0.0)


def stored(tmp_path, name="teacher", classes=CLASSES, shape=(3, 8, 8)):
    spec = ModelSpec("convnet1", shape, len(classes), 4)
    net = build(spec, generator())
    channels = shape[0]
    about = SimpleNamespace(classes=classes, mean=OURS[0][:channels], std=OURS[1][:channels])
    save_model(tmp_path / name / "model.safetensors", net, spec, about)
    return net.eval(), spec


def test_a_file_of_ours_and_the_folder_of_a_run(tmp_path):
    net, spec = stored(tmp_path)
    stored(tmp_path, "student")
    x = pixels(2, 3, 8, 8)
    for said in (tmp_path, tmp_path / "teacher", tmp_path / "teacher" / "model.safetensors"):
        found = load_teacher(str(said), None, (3, 8, 8), CLASSES)
        assert (found.spec, found.mean, found.std, found.needs_head) == (spec, *OURS, False)
        assert torch.equal(found.net(x), net(x))
    (tmp_path / "teacher" / "model.safetensors").unlink()
    assert load_teacher(str(tmp_path), "convnet1", (3, 8, 8), CLASSES).where == str(tmp_path / "student" / "model.safetensors")


def test_a_file_that_says_nothing_has_no_normalisation(tmp_path):
    net = build(ModelSpec("convnet1", (3, 8, 8), 3, 4), generator())
    save_file(net.state_dict(), tmp_path / "own.safetensors")
    found = load_teacher(str(tmp_path / "own.safetensors"), "convnet1:4", (3, 8, 8), CLASSES)
    assert (found.mean, found.std) == ((), ())
    x = pixels(2, 3, 8, 8)
    assert torch.equal(found.beside(*OURS)(x), net.eval()(x))


@pytest.mark.parametrize(
    ("shape", "classes", "expected"),
    [
        ((3, 8, 8), ("a", "b"), "knows 3 classes (cat, dog, eel), these data have 2 (a, b): they must be the same"),
        ((1, 8, 8), CLASSES, "was trained on images of 3 channels, these data have 1: they must be the same"),
        ((3, 16, 16), CLASSES, "classifier.weight is (3, 64) there, (3, 256) in this network"),
    ],
)
def test_a_teacher_of_other_data_is_refused_with_both_numbers(tmp_path, shape, classes, expected):
    stored(tmp_path)
    with pytest.raises(InputError) as caught:
        load_teacher(str(tmp_path), None, shape, classes)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("load_teacher ")


def test_what_is_not_there_is_one_line(tmp_path, monkeypatch):
    import huggingface_hub

    def offline(*given, **more):
        raise OSError("no network\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    monkeypatch.setattr(hub, "reached", lambda name: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_text('{"model_type": "vit"}')
    (tmp_path / "pickled" / "pytorch_model.bin").touch()
    for said, model, expected in (
        (
            "hf:some/name",
            None,
            r"hf:some/name: there is no such folder, and the Hub does not give it \(it is not in the cache, and",
        ),
        ("pretrained", "torchvision:resnet18", r"neither in its cache nor can they be fetched \(OSError: no network\)"),
        ("pretrained", "torchvision:resnet1", "did you mean resnet1"),
        ("pretrained", "convnet3", "is for teacher timm:NAME or torchvision:NAME, not for convnet3"),
        ("pretrained", None, "not for none"),
        (str(tmp_path / "empty"), None, "holds no trained network"),
        (str(tmp_path / "pickled"), None, "has no model.safetensors: pickles are never loaded"),
        (f"hf:{tmp_path / 'empty'}", None, "is no model of the Hub"),
        (str(tmp_path / "none.safetensors"), None, "there is no such file"),
    ):
        with pytest.raises(InputError, match=expected) as caught:
            load_teacher(said, model, (3, 8, 8), CLASSES)
        assert "\n" not in str(caught.value)


def test_weights_of_timm_come_from_the_cache_of_the_hub(tmp_path, monkeypatch):
    import huggingface_hub

    timm = pytest.importorskip("timm")
    theirs = scattered(timm.create_model("test_resnet"))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    asked = []

    def cached(name, file):
        asked.append((name, file))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    found = load_teacher("pretrained", "timm:test_resnet", (3, 32, 32), tuple(map(str, range(1000))))
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]
    assert (found.mean, found.std, found.needs_head) == ((0.5,) * 3, (0.5,) * 3, False)
    x = pixels(2, 3, 32, 32)
    torch.testing.assert_close(found.net(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_timm_without_weights_or_network(monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.setattr(pretrained, "reached", lambda name: False)
    with pytest.raises(InputError, match=r"of timm:resnet26 are neither in its cache nor .* \(ConnectionError: the Hub cannot"):
        load_teacher("pretrained", "timm:resnet26", (3, 8, 8), CLASSES)
    with pytest.raises(InputError, match="unknown model 'timm:resnet1'"):
        load_teacher("pretrained", "timm:resnet1", (3, 8, 8), CLASSES)
    with pytest.raises(InputError, match="timm has no weights for timm:beit3_giant_patch14_224"):
        load_teacher("pretrained", "timm:beit3_giant_patch14_224", (3, 8, 8), CLASSES)


def test_the_header_is_read_as_before(tmp_path):
    stored(tmp_path)
    assert read_model(tmp_path / "teacher" / "model.safetensors").facts.keys() == {
        "model", "width", "norm", "classes", "mean", "std"
    }  # fmt: skip
