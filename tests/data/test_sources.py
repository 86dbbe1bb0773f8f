"""Every form of `--data`, on tiny folders; what comes back is compared with the pictures that went in."""

import os
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from refluence.data import SourceOptions, hub, load
from refluence.errors import InputError
from support.pictures import array, class_folders, encoded, labels_of, parquet, picture, png, write

FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["zebra", "ant"])})


def chw(index, **how):
    x = array(index, **how)
    return torch.from_numpy(x[None] if x.ndim == 2 else x.transpose(2, 0, 1).copy())


def all_rows(data):
    return sorted(data.train.rows.tolist() + data.val.rows.tolist())


def check_content(data, split, start=0, **how):
    """Row i of the stored split is picture `start + i`."""
    for image, row in zip(split.images, split.rows.tolist(), strict=True):
        assert torch.equal(image, chw(start + row, **how))


def test_digits():
    data = load("digits")
    assert data.shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    assert len(data.train) + len(data.val) + len(data.test) == 1797
    assert int(data.train.images.max()) == 255  # 16 became 255
    assert any("cut from train" in note for note in data.notes)
    from sklearn.datasets import load_digits

    truth = load_digits()
    for split in (data.train, data.val, data.test):
        assert np.array_equal(split.labels, truth.target[split.rows])
        assert np.allclose(split.images[:, 0].numpy() / 255, truth.images[split.rows] / 16, atol=0.002)


def test_digits_resized():
    assert load("digits", SourceOptions(image_size=16)).shape == (1, 16, 16)


def test_parquet_with_features(tmp_path):
    parquet(tmp_path / "train.parquet", labels_of({0: 12, 1: 10}), features=FEATURES)
    parquet(tmp_path / "test.parquet", [1, 0, 1], start=100, features=FEATURES)
    data = load(str(tmp_path))
    assert data.classes == ("zebra", "ant")  # the order of the feature, not of the alphabet
    assert all_rows(data) == list(range(22))
    assert data.test.rows.tolist() == [0, 1, 2]
    assert data.test.labels.tolist() == [1, 0, 1]
    check_content(data, data.train)
    check_content(data, data.val)
    check_content(data, data.test, start=100)
    assert torch.equal(data.train.labels, (data.train.rows >= 12).long())


def test_plain_parquet_bytes_and_string_labels(tmp_path):
    table = pa.table({"id": list(range(8)), "picture": [png(i) for i in range(8)], "y": ["b", "a"] * 4})
    pq.write_table(table, tmp_path / "train.parquet")
    data = load(str(tmp_path))
    assert data.classes == ("a", "b")
    check_content(data, data.train)
    assert data.train.labels.tolist() == [1 - row % 2 for row in data.train.rows.tolist()]


def test_plain_struct_keeps_paths(tmp_path):
    parquet(tmp_path / "train.parquet", labels_of({3: 5, 7: 5}))
    data = load(str(tmp_path))
    assert data.classes == ("3", "7")  # numbers that skip are numbered anew, their names kept
    assert set(data.train.labels.tolist()) == {0, 1}
    assert data.train.paths == tuple(f"{row}.png" for row in data.train.rows.tolist())


def test_struct_with_paths_alone(tmp_path):
    for i in range(6):
        write(tmp_path / "pictures" / f"{i}.png", picture(i))
    images = [{"bytes": None, "path": f"pictures/{i}.png"} for i in range(6)]
    parquet(tmp_path / "train.parquet", [0, 1] * 3, images=images)
    check_content(*(lambda d: (d, d.train))(load(str(tmp_path))))


def test_shards_and_validation_as_test(tmp_path):
    parquet(tmp_path / "data" / "train-00000-of-00002-abc.parquet", [0, 1] * 3)
    parquet(tmp_path / "data" / "train-00001-of-00002-abc.parquet", [0, 1] * 3, start=6)
    parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", [0, 1], start=50)
    data = load(str(tmp_path))
    assert all_rows(data) == list(range(12))
    check_content(data, data.train)
    check_content(data, data.test, start=50)
    assert any("'validation' is the test split" in note for note in data.notes)


def test_test_split_without_labels_is_passed_over(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 4)
    parquet(tmp_path / "test.parquet", [-1, -1], start=20)
    parquet(tmp_path / "val.parquet", [0, 1], start=30)
    data = load(str(tmp_path))
    check_content(data, data.test, start=30)
    assert any("'test' has no labels" in note for note in data.notes)


def test_task(tmp_path):
    parquet(tmp_path / "cats-train.parquet", [0, 1] * 4)
    parquet(tmp_path / "cats-test.parquet", [0, 1], start=20)
    parquet(tmp_path / "dogs-test.parquet", [0, 1], start=20)
    data = load(f"{tmp_path}:cats")
    check_content(data, data.test, start=20)
    with pytest.raises(InputError, match=r"TASK one of cats, dogs"):
        load(str(tmp_path))
    with pytest.raises(InputError, match=r"no task 'cows'; it holds cats, dogs"):
        load(f"{tmp_path}:cows")
    with pytest.raises(InputError, match=r"expected dogs-train.parquet, found dogs-test.parquet"):
        load(f"{tmp_path}:dogs")


def test_columns_by_flag(tmp_path):
    other = [{"bytes": png(50 + i), "path": None} for i in range(8)]
    images = [{"bytes": png(i), "path": None} for i in range(8)]
    table = {"left": images, "right": other, "kind": ["a", "b"] * 4, "colour": ["x", "x", "y", "y"] * 2}
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"several image columns \(left, right\).*image_column"):
        load(str(tmp_path))
    with pytest.raises(InputError, match=r"no label column.*left, right, kind, colour.*label_column"):
        load(str(tmp_path), SourceOptions(image_column="left"))
    with pytest.raises(InputError, match=r"image_column='middle'.*left, right"):
        load(str(tmp_path), SourceOptions(image_column="middle"))
    data = load(str(tmp_path), SourceOptions(image_column="right", label_column="colour"))
    assert data.classes == ("x", "y")
    check_content(data, data.train, start=50)


def test_columns_that_nobody_uses_may_be_of_any_type(tmp_path):
    """Types that `datasets` does not know, declarations of another version, names with dots."""
    extra = {
        "map": pa.array([[("a", 1)]] * 10, pa.map_(pa.string(), pa.int32())),
        "half": pa.array(np.ones(10, np.float16)),
        "time": pa.array([1] * 10, pa.time32("s")),
        "label.text": pa.array(["z"] * 10),
    }
    images = [{"bytes": png(i), "path": None} for i in range(10)]
    table = pa.table({**extra, "image": images, "label": pa.array(["x", "y"] * 5).dictionary_encode()})
    declared = b'{"info": {"features": {"half": {"_type": "Hologram"}, "image": {"_type": "Image"}}}}'
    pq.write_table(table.replace_schema_metadata({b"huggingface": declared}), tmp_path / "train.parquet")
    data = load(str(tmp_path))
    assert data.classes == ("x", "y")
    check_content(data, data.train)
    pq.write_table(table.replace_schema_metadata({b"huggingface": b"{"}), tmp_path / "train.parquet")
    assert load(str(tmp_path)).classes == ("x", "y")


def test_a_column_twice_or_in_one_shard_alone(tmp_path):
    parquet(tmp_path / "train.parquet", ["a", "b"] * 4)
    table = pq.read_table(tmp_path / "train.parquet")
    for column in ("image", "label"):
        pq.write_table(table.append_column(column, table[column]), tmp_path / "train.parquet")
        with pytest.raises(InputError, match=f"2 columns '{column}'"):
            load(str(tmp_path))
    pq.write_table(table, tmp_path / "train-00000-of-00002.parquet")
    pq.write_table(table.select(["label"]), tmp_path / "train-00001-of-00002.parquet")
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(InputError, match="has no column 'image', as other files"):
        load(str(tmp_path))


def test_text_that_is_no_utf8_is_named(tmp_path):
    text = pa.Array.from_buffers(pa.string(), 10, pa.array([b"x", b"caf\xe9"] * 5).buffers())
    pq.write_table(pa.table({"image": [png(i) for i in range(10)], "label": text}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"train.parquet, column 'label': the text of row 1 is no UTF-8"):
        load(str(tmp_path))


def test_text_is_refused(tmp_path):
    pq.write_table(pa.table({"remark": ["a"], "label": [0]}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"no image column.*remark, label"):
        load(str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_names_of_files_that_are_no_utf8(tmp_path):
    """They are text from here on: in tables, pages, notes and class names."""
    class_folders(tmp_path / "set", {"cat": 6, "dog": 6})
    os.rename(os.fsencode(tmp_path / "set/cat/003.png"), os.fsencode(tmp_path) + b"/set/cat/ni\xf1o.png")
    os.rename(os.fsencode(tmp_path / "set/dog"), os.fsencode(tmp_path) + b"/set/\xf1u\xc3\xb1")
    data = load(str(tmp_path / "set"))
    assert data.classes == (r"\xf1uñ", "cat") == tuple(sorted(data.classes))
    paths = [path for split in (data.train, data.val, data.test) for path in split.paths]
    assert r"cat/ni\xf1o.png" in paths
    assert r"\xf1uñ/000.png" in paths
    (tmp_path / "set/cat" / os.fsdecode(b"ni\xf1o.png")).write_bytes(b"")
    with pytest.raises(InputError, match=r"cat/ni.xf1o.png \(row 5"):
        load(str(tmp_path / "set"))


def test_image_folder_with_splits(tmp_path):
    class_folders(tmp_path / "train", {"cat": 12, "dog": 5})
    class_folders(tmp_path / "val", {"cat": 2, "dog": 1}, start=60)
    data = load(str(tmp_path))
    assert data.classes == ("cat", "dog")
    assert all_rows(data) == list(range(17))
    check_content(data, data.train)
    check_content(data, data.test, start=60)
    assert data.test.paths == ("cat/000.png", "cat/001.png", "dog/000.png")
    assert data.test.labels.tolist() == [0, 0, 1]


def test_image_folder_nested_suffixes_and_litter(tmp_path):
    for i in range(4):
        write(tmp_path / "cat" / f"{i}.PNG", picture(i))
        write(tmp_path / "cat" / "deep" / "er" / f"{i}.webp", picture(10 + i), lossless=True)
        write(tmp_path / "dog" / f"{i}.JPeG", picture(20 + i))
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    (tmp_path / "cat" / "._0.PNG").write_bytes(b"litter")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "bird").mkdir()
    data = load(str(tmp_path))
    assert data.classes == ("cat", "dog")
    assert len(data.train) + len(data.val) + len(data.test) == 12
    everything = {bytes(image.numpy().tobytes()) for split in (data.train, data.val, data.test) for image in split.images}
    assert all(chw(i).numpy().tobytes() in everything for i in (0, 1, 2, 3, 10, 11, 12, 13))
    assert any("1 .txt" in note for note in data.notes)
    assert any("bird" in note for note in data.notes)


def test_a_class_called_train(tmp_path):
    class_folders(tmp_path, {"car": 4, "plane": 4, "train": 4})
    assert load(str(tmp_path)).classes == ("car", "plane", "train")


def test_images_straight_in_train(tmp_path):
    write(tmp_path / "train" / "a.png", picture(0))
    with pytest.raises(InputError, match=r"train has no class folders: expected .*train/<class>"):
        load(str(tmp_path))


def test_grey_folder_has_one_channel(tmp_path):
    data = load(str(class_folders(tmp_path / "set", {"a": 5, "b": 5}, grey=True)))
    assert data.shape == (1, 8, 8)
    check_content(data, data.train, grey=True)


def test_grey_stored_as_rgb_has_one_channel(tmp_path):
    for i in range(10):
        write(tmp_path / "set" / "ab"[i % 2] / f"{i}.png", picture(i, grey=True).convert("RGB"))
    assert load(str(tmp_path / "set")).shape == (1, 8, 8)


def test_one_colour_image_makes_all_rgb(tmp_path, monkeypatch):
    monkeypatch.setattr("refluence.data.pixels.CHUNK", 3)  # the coloured one comes long after grey chunks were written
    class_folders(tmp_path / "set", {"a": 10, "b": 10}, grey=True)
    write(tmp_path / "set" / "b" / "zzz.png", picture(77))
    data = load(str(tmp_path / "set"))
    assert data.shape == (3, 8, 8)
    seen = {row: image for s in (data.train, data.val, data.test) for row, image in zip(s.rows.tolist(), s.images, strict=True)}
    assert torch.equal(seen[20], chw(77))
    assert all(torch.equal(seen[i], chw(i, grey=True).expand(3, 8, 8)) for i in range(20))


def test_grey_train_beside_coloured_test(tmp_path):
    class_folders(tmp_path / "train", {"a": 5, "b": 5}, grey=True)
    class_folders(tmp_path / "test", {"a": 1, "b": 1}, start=50)
    data = load(str(tmp_path))
    assert data.shape == (3, 8, 8)
    assert torch.equal(data.train.images[:, 0], data.train.images[:, 2])
    assert len(data.mean) == 3
    check_content(data, data.test, start=50)


def test_hub_through_a_folder_that_load_dataset_accepts(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hf"))
    parquet(tmp_path / "hub" / "train.parquet", labels_of({0: 8, 1: 8}), features=FEATURES)
    parquet(tmp_path / "hub" / "test.parquet", [1, 0], start=40, features=FEATURES)
    monkeypatch.setattr(hub, "_load", lambda name, config: datasets.load_dataset(str(tmp_path / "hub")))
    data = load("owner/name")
    assert data.classes == ("zebra", "ant")
    assert all_rows(data) == list(range(16))
    check_content(data, data.train)
    check_content(data, data.test, start=40)


def test_hub_names_config_and_failures(monkeypatch):
    asked = []

    class Api:
        def dataset_info(self, name, timeout):
            raise OSError("no network")

    def load_dataset(name, config):
        asked.append((name, config, datasets.config.HF_HUB_OFFLINE))
        raise ConnectionError("Couldn't reach it")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(InputError, match=r"as a Hub id: Couldn't reach it.*expected digits, a folder"):
        load("owner/name:plain")
    assert asked == [("owner/name", "plain", True)]  # unreachable: straight to the local copy, no retries
    assert before == datasets.config.HF_HUB_OFFLINE


def test_unknown_sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "flowers", {"a": 3, "b": 3})
    for typo, close in (("flower", "flowers"), ("digit", "digits"), (f"{tmp_path}/flovers", "flowers")):
        with pytest.raises(InputError, match=rf"close: .*{close}.*expected digits, a folder with train.parquet"):
            load(typo)
    with pytest.raises(InputError, match=r"is a file: give the folder"):
        load(str(write(tmp_path / "x.png", picture(0))))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no train.parquet and no images \(it holds nothing\)"):
        load(str(tmp_path / "empty"))


def test_broken_parquet(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"train.parquet cannot be read as Parquet"):
        load(str(tmp_path))


def test_normalisation_is_of_train_alone(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 15)
    parquet(tmp_path / "test.parquet", [0, 1], start=80)
    data = load(str(tmp_path))
    pixels = data.train.images.double() / 255
    assert torch.tensor(data.mean).double().allclose(pixels.mean((0, 2, 3)))
    assert torch.tensor(data.std).double().allclose(pixels.std((0, 2, 3), correction=0))
    x = data.pixels(data.train)
    assert x.mean((0, 2, 3)).abs().max() < 1e-5


def test_constant_channel_does_not_divide_by_zero(tmp_path):
    flat = encoded(picture(0).point(lambda _: 0))
    images = [{"bytes": flat, "path": None}] * 8
    parquet(tmp_path / "train.parquet", [0, 1] * 4, images=images)
    data = load(str(tmp_path))
    assert torch.isfinite(data.pixels(data.train)).all()
