"""Exports, read back by the tools they are for."""

import dataclasses
import os

import datasets
import numpy as np
import pytest
import torch
from torchvision.datasets import ImageFolder

from refluence.data import DistilledSet, decoded, export, load, load_distilled, save_distilled, to_uint8
from refluence.data.folder_names import folder_names
from refluence.errors import InputError


@pytest.fixture(params=[1, 3], ids=["grey", "rgb"])
def distilled(request):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(15, request.param, 8, 8, generator=generator) * 2
    names = ("plain", "with/slash", ".hidden")
    return DistilledSet(images, torch.arange(15) % 3, names, (0.5,) * request.param, (0.25,) * request.param)


@pytest.fixture
def folder(tmp_path, distilled):
    save_distilled(tmp_path / "run" / "distilled", distilled, {"method": "dc"})
    return tmp_path / "run"


def test_image_folder_is_loaded_again(folder, distilled, tmp_path):
    summary = export(folder, "imagefolder", tmp_path / "out")
    assert "PNG holds 256 levels: " in summary
    assert str(tmp_path / "out" / "images.safetensors") in summary
    data = load(str(tmp_path / "out"))
    assert data.classes == ("0-plain", "1-with%2Fslash", "2-%2Ehidden")
    pixels = to_uint8(distilled)
    for split in (data.train, data.val, data.test):
        for image, label, path in zip(split.images, split.labels.tolist(), split.paths, strict=True):
            index = int(path.split("/")[1].removesuffix(".png"))
            assert torch.equal(image, pixels[index])
            assert label == index % 3
    assert len(data.train) + len(data.val) + len(data.test) == 15


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("zebra finch", "Ärger", "ágata", "猫頭鷹"), ["zebra finch", "Ärger", "ágata", "猫頭鷹"]),
        (("zebra", "ant"), ["0-zebra", "1-ant"]),
        (tuple(map(str, range(11))), [f"{i:02d}-{i}" for i in range(11)]),
        (("Cat", "cat"), ["0-Cat", "1-cat"]),
        (("\u00e1", "a\u0301"), ["0-\u00e1", "1-a\u0301"]),
        (("", "a"), ["0-", "1-a"]),
        (("aux.1", "con", "dot.", "space "), ["%61ux.1", "%63on", "dot%2E", "space%20"]),
        (("50%", "a\\b", "new\nline"), ["50%25", "a%5Cb", "new%0Aline"]),
        (("猫" * 300, "猫" * 300 + "x"), ["0-" + "猫" * 66, "1-" + "猫" * 66]),
        (("ni\udcf1o", "z"), ["ni%ED%B3%B1o", "z"]),
    ],
)
def test_folders_sort_as_the_classes_are_numbered(tmp_path, classes, expected):
    names, _ = folder_names(classes)
    assert names == expected
    for name in names:
        (tmp_path / name).mkdir()
    assert ImageFolder(str(tmp_path), allow_empty=True).classes == names == sorted(names)


def test_parquet_gives_image_and_class_label(folder, distilled, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hf"))
    export(folder, "parquet", tmp_path / "out")
    back = datasets.Dataset.from_parquet(str(tmp_path / "out" / "train.parquet"), cache_dir=str(tmp_path / "hf"))
    assert isinstance(back.features["image"], datasets.Image)
    assert back.features["label"].names == list(distilled.classes)
    assert list(back["label"]) == distilled.labels.tolist()
    for row, pixels in zip(back, to_uint8(distilled).numpy(), strict=True):
        image = np.asarray(row["image"])
        assert np.array_equal(image[None] if image.ndim == 2 else image.transpose(2, 0, 1), pixels)
    assert load(str(tmp_path / "out")).classes == distilled.classes


@pytest.mark.parametrize("format", ["imagefolder", "parquet", "tensors"])
def test_the_tensors_always_lie_beside_it(folder, distilled, tmp_path, format):
    (tmp_path / "out").mkdir()  # an empty folder may be given
    summary = export(folder, format, tmp_path / "out")
    assert torch.equal(load_distilled(tmp_path / "out").images, distilled.images)
    assert "\n" not in summary
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_an_empty_folder_is_replaced_where_renaming_onto_it_fails(folder, tmp_path, monkeypatch):
    real = os.replace

    def as_on_windows(source, target):
        if os.path.isdir(target):
            raise PermissionError(13, "Access is denied")
        real(source, target)

    monkeypatch.setattr(os, "replace", as_on_windows)
    (tmp_path / "out").mkdir()
    export(folder, "tensors", tmp_path / "out")
    assert (tmp_path / "out" / "card.json").exists()


def test_refusals(folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"full exists and is not empty"):
        export(folder, "tensors", tmp_path / "full")
    with pytest.raises(InputError, match=r"format='zip': choose one of imagefolder, parquet, tensors"):
        export(folder, "zip", tmp_path / "out")
    with pytest.raises(InputError, match=r"holds no distilled set"):
        export(tmp_path / "full", "tensors", tmp_path / "out")
    with pytest.raises(InputError, match=r"cannot write"):
        export(folder, "tensors", tmp_path / "full" / "thesis.txt" / "out")
    assert not (tmp_path / "out").exists()


def test_the_summary_tells_how_much_is_lost(folder, tmp_path, distilled):
    values = distilled.images * 0.25 * 255 + 0.5 * 255
    outside = ((values < -0.5) | (values > 255.5)).float().mean().item()
    assert f"{outside:.1%} of the values" in export(folder, "imagefolder", tmp_path / "out")


@pytest.mark.parametrize("format", ["imagefolder", "parquet", "tensors"])
def test_learned_parts_go_along(tmp_path, distilled, format):
    """Images that hold several are written decoded; soft labels are a column, and in the tensors with the rest."""
    soft = torch.tensor([[0.5, 0.25, 0.25]]).repeat(15, 1)
    small = dataclasses.replace(distilled, soft=soft, factor=2, stage=torch.arange(15), lr=0.02)
    save_distilled(tmp_path / "distilled", small, {})
    summary = export(tmp_path, format, tmp_path / "out")
    back = load_distilled(tmp_path / "out")
    assert (back.factor, back.lr) == (2, 0.02)
    assert torch.equal(back.soft, soft)
    assert torch.equal(back.stage, torch.arange(15))
    pixels = to_uint8(decoded(small))
    if format == "tensors":
        assert "15 images" in summary
        return
    assert "60 images, decoded from 15 stored ones" in summary
    if format == "imagefolder":
        assert len(list((tmp_path / "out" / "train").rglob("*.png"))) == 60
        assert "Soft labels are in the tensors alone" in summary
        return
    rows = datasets.Dataset.from_parquet(str(tmp_path / "out" / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert rows["soft"][59] == [0.5, 0.25, 0.25]
    image = np.asarray(rows[59]["image"])
    assert np.array_equal(image[None] if image.ndim == 2 else image.transpose(2, 0, 1), pixels[59].numpy())
