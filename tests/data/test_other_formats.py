"""Files that other libraries read are read through them; of the others, the lines that a message prints make a readable set."""

import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from refluence.cli import main
from refluence.data import SourceOptions, load
from refluence.errors import InputError, in_flags
from support.pictures import array, class_folders, picture, png, write

GREY = np.stack([array(i, grey=True) for i in range(8)])


@pytest.fixture(autouse=True)
def library_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hf"))


def converted(source, **options):
    """The dataset that the printed lines make, and its message."""
    with in_flags(), pytest.raises(InputError) as caught:
        load(str(source))
    assert caught.value.lines
    exec("\n".join(caught.value.lines), {})
    made = str(caught.value).rpartition("--data ")[2].rstrip(":") if "then give --data " in str(caught.value) else source
    return load(str(made), SourceOptions(**options)), str(caught.value)


def check(data, images):
    for split in (data.train, data.val):
        for image, row, label in zip(split.images, split.rows.tolist(), split.labels.tolist(), strict=True):
            assert torch.equal(image, torch.from_numpy(images[row])[None])
            assert label == row % 2


def idx(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def test_idx(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    idx(raw / "train-images-idx3-ubyte", GREY)
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte is missing"):
        load(str(tmp_path))
    idx(raw / "train-labels-idx1-ubyte", np.arange(8) % 2)
    idx(raw / "t10k-images-idx3-ubyte", GREY[:2])
    idx(raw / "t10k-labels-idx1-ubyte", np.arange(2))
    data = load(str(tmp_path))
    assert data.notes[0] == "10 images in 2 classes: 0, 1; train from train (8), test from test (2); validation cut from train"
    check(data, GREY)
    (raw / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0")
    with pytest.raises(InputError, match=r"no whole idx file"):
        load(str(tmp_path))


def tar(path, suffix="cls"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as stream:
        for i in range(8):
            for name, held in ((f"{i:04d}.png", png(i, grey=True)), (f"{i:04d}.{suffix}", str(i % 2).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(held)
                stream.addfile(member, io.BytesIO(held))


def test_webdataset(tmp_path):
    tar(tmp_path / "set" / "train-000000.tar")
    data = load(str(tmp_path / "set"))
    assert data.notes[0] == "8 images in 2 classes: 0, 1; train from train (8); validation cut from train"
    check(data, GREY)
    check(load(str(tmp_path / "set" / "train-000000.tar")), GREY)
    tar(tmp_path / "set" / "train-000002.tar")
    with pytest.raises(InputError, match=r"2 of 3 shards: train-000001.tar is missing"):
        load(str(tmp_path / "set"))
    tar(tmp_path / "pickled" / "train-0.tar", suffix="pth")
    with pytest.raises(InputError, match=r"pth files: these are pickles"):
        load(str(tmp_path / "pickled"))


@pytest.mark.parametrize("names", [("x_{}", "y_{}"), ("{}_images", "{}_labels")])
def test_npz(tmp_path, names):
    arrays = {
        name.format(split): value
        for split in ("train", "test")
        for name, value in zip(names, (GREY, np.arange(8)[:, None] % 2), strict=True)
    }
    np.savez(tmp_path / "few.npz", **arrays)
    data, message = converted(tmp_path / "few.npz")
    assert all(name in message for name in arrays)
    assert "train from train (8), test from test (8)" in data.notes[0]
    check(data, GREY)


def test_npz_in_a_folder_without_splits(tmp_path):
    np.savez(tmp_path / "a.npz", images=GREY, labels=np.arange(8) % 2)
    check(converted(tmp_path)[0], GREY)


def test_a_broken_npz_is_no_traceback(tmp_path):
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match=r"a.npz is no whole file"):
        load(str(tmp_path))


def test_a_table_of_pixels(tmp_path):
    lines = ["label," + ",".join(f"pixel{i}" for i in range(64))]
    lines += [",".join(map(str, [i % 2, *GREY[i].ravel()])) for i in range(8)]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    check(converted(tmp_path)[0], GREY)


def test_flat_pictures_with_a_table_of_labels(tmp_path):
    for i in range(8):
        write(tmp_path / "train" / f"00{i}.png", picture(i, grey=True))
    rows = [f"00{i},{('cat', 'dog')[i % 2]}" for i in range(8)]
    (tmp_path / "train.csv").write_text("\n".join(["id,breed", *rows]))
    data, message = converted(tmp_path, image_column="image")
    assert "train.csv" in message
    assert data.classes == ("cat", "dog")
    check(data, GREY)


def test_labelme(tmp_path):
    for i in range(8):
        write(tmp_path / "set" / f"{i}.png", picture(i, grey=True))
        note = {"shapes": [{"label": ("cat", "dog")[i % 2]}], "imagePath": f"{i}.png"}
        (tmp_path / "set" / f"{i}.json").write_text(json.dumps(note))
    with pytest.raises(InputError, match=r"LabelMe") as caught:
        load(str(tmp_path / "set"))
    exec("\n".join(caught.value.lines), {})
    assert load(str(tmp_path / "set-classes")).notes[0].startswith("8 images in 2 classes: cat, dog")


def test_archives(tmp_path):
    class_folders(tmp_path / "z", {"cat": 2, "dog": 2})
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as stream:
        for path in (tmp_path / "z").glob("*/*"):
            stream.write(path, path.relative_to(tmp_path))
    with pytest.raises(InputError, match=r"is an archive: unpack it, then give data=") as caught:
        load(str(tmp_path / "pets.zip"))
    assert caught.value.lines == (f"python -m zipfile -e {tmp_path}/pets.zip {tmp_path}/pets",)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar-10-batches-py/data_batch_1", "torchvision.datasets.CIFAR10("),
        ("cifar-100-python/train", "torchvision.datasets.CIFAR100("),
        ("data.pkl", "Dataset.from_dict"),
        ("data.pt", "Dataset.from_dict"),
    ],
)
def test_no_pickle_is_loaded(tmp_path, capsys, name, expected):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    for source in (tmp_path, tmp_path / name, (tmp_path / name).parent):
        assert main(["distill", "--data", str(source), "--out", str(tmp_path / "run"), "--method", "random"]) == 2
        first, *lines = capsys.readouterr().err.splitlines()
        assert "Refluence loads none" in first
        assert any(expected in line for line in lines)
        assert all(line.startswith("    ") for line in lines)
        compile("\n".join(line[4:] for line in lines), "lines", "exec")


@pytest.mark.parametrize(
    "name", ["set.h5", "x_train.npy", "train.tfrecord", "train-images-idx3-ubyte.gz", "a.arrow", "labels.csv"]
)
def test_other_files_have_a_message_of_their_own(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(InputError) as caught:
            load(str(source))
        assert str(caught.value).startswith(f"{tmp_path / name} is ")
        assert "is a file" not in str(caught.value)
