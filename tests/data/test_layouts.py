"""What a folder is taken for: names of splits, one folder around another, what is passed over; and the line that says it."""

import os
import unicodedata

import datasets
import pytest
from PIL import Image

from refluence.cli import main
from refluence.data import SourceOptions, load
from refluence.errors import InputError
from support.pictures import class_folders, parquet, picture, write

COUNTS = {"cat": 4, "dog": 4}


def splits(root, *names, counts=COUNTS):
    """`root/NAME/<class>/…` for every name, no picture twice."""
    for i, name in enumerate(names):
        class_folders(root / name, counts, start=100 * i)
    return root


def line(folder, **options):
    return load(str(folder), SourceOptions(**options)).notes[0]


def said(folder):
    return "\n".join(load(str(folder)).notes[1:])


def refused(folder):
    with pytest.raises(InputError) as caught:
        load(str(folder))
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "TEST"), ("training", "testing"), ("Training", "Testing"), ("TRAIN", "Val"), ("trainval", "test"),
        ("train", "valid"), ("train", "validation"), ("train", "dev"), ("train", "eval"),
    ],
)  # fmt: skip
def test_split_folders_and_tables_in_every_spelling(tmp_path, train, test):
    expected = f"16 images in 2 classes: cat, dog; train from {train} (8), test from {test} (8); validation cut from train"
    assert line(splits(tmp_path / "pictures", train, test)) == expected
    parquet(tmp_path / "tables" / f"{train}.parquet", ["cat", "dog"] * 4)
    parquet(tmp_path / "tables" / f"{test}.parquet", ["cat", "dog"] * 4, start=50)
    assert line(tmp_path / "tables") == expected


def test_several_names_of_one_split(tmp_path):
    assert line(splits(tmp_path / "a", "train", "trainval", "test", "val")).endswith(
        "train from train (8), validation from val (8), test from test (8); passed over: split trainval (8 images)"
    )
    if os.path.exists("/proc"):  # where names differ by case
        assert "holds Train and train" in refused(splits(tmp_path / "b", "train", "Train"))


def test_folders_named_like_splits_beside_other_classes_are_classes(tmp_path):
    for other in ("test", "train", "Training", "dev"):
        data = class_folders(tmp_path / other, {"car": 4, other: 4, "plane": 4})
        assert line(data).startswith("12 images in 3 classes: ")
        assert f"called like splits are classes here, since they hold no class folders: {other}" in said(data)


def test_splits_without_train(tmp_path):
    assert "holds test, val and no train split" in refused(splits(tmp_path / "a", "val", "test"))
    assert "no train split: expected" in refused(splits(tmp_path / "b", "valid"))


def test_folders_called_nearly_like_splits(tmp_path):
    assert "rename them to train and test" in refused(splits(tmp_path / "a", "seg_train", "seg_test", "seg_pred"))
    assert "rename them to train and test" in refused(splits(tmp_path / "b", "TrainImages", "TestImages"))
    for names in (("train_images", "test_images"), ("train", "test", "sample")):
        for i, name in enumerate(names):
            write(tmp_path / names[0][::5] / name / "0.png", picture(i))
        assert f"{names[0]} has no class folders" in refused(tmp_path / names[0][::5])


def test_pictures_beside_the_splits_are_counted(tmp_path):
    splits(tmp_path, "train", "test")
    class_folders(tmp_path / "more", {"x": 2, "y": 1})
    assert line(tmp_path).endswith("passed over: 3 images in folders that are no splits (more)")


@pytest.mark.parametrize("name", ["flat", "images", "empty"])
def test_a_test_split_without_labels_is_passed_over(tmp_path, name):
    splits(tmp_path, "train", "val")
    (tmp_path / "test" / "cat").mkdir(parents=True)
    if name != "empty":
        for i in range(3):
            write(tmp_path / "test" / ("images" if name == "images" else ".") / f"{i}.png", picture(500 + i))
    assert "test from val (8)" in line(tmp_path)
    assert "the stored split 'test' has no labels" in said(tmp_path) or "'test' holds no images" in said(tmp_path)
    (tmp_path / "val").rename(tmp_path / "nothing")
    assert "were cut from train" in said(tmp_path)


def test_one_folder_around_it(tmp_path):
    class_folders(tmp_path / "a" / "pets" / "pets", COUNTS)
    (tmp_path / "a" / "__MACOSX" / "pets").mkdir(parents=True)
    (tmp_path / "a" / "README.txt").write_text("")
    assert line(tmp_path / "a").endswith(
        "read from pets/pets; validation cut from train; passed over: 1 .txt, 1 folder __MACOSX"
    )
    splits(tmp_path / "b" / "images", "train", "val")
    assert "read from images; train from train (8), test from val (8)" in line(tmp_path / "b")
    splits(tmp_path / "c", "train/train", "test/test")
    assert "classes: cat, dog; train from train (8), test from test (8)" in line(tmp_path / "c")
    splits(tmp_path / "d", "train/images", "test/images")
    assert "classes: cat, dog; train from train (8), test from test (8)" in line(tmp_path / "d")


def test_litter_links_and_our_own_folders(tmp_path):
    data = class_folders(tmp_path / "set", COUNTS)
    before = load(str(data)).train.paths
    class_folders(data / "@eaDir", COUNTS)
    class_folders(data / "cat" / "@eaDir", {"000.png": 2})
    class_folders(data / "run" / "export-imagefolder" / "train", COUNTS)
    (data / "run" / "config.json").write_text("{}")
    (data / "run" / "distilled").mkdir()
    (data / "dog" / "Thumbs.db").write_text("")
    (data / "dog" / ".DS_Store").write_text("")
    write(data / "loose.png", picture(9))
    os.symlink("..", data / "cat" / "up")
    os.symlink("nowhere.png", data / "note.txt")
    assert load(str(data)).train.paths == before
    assert line(data).partition("passed over: ")[2].split(", ") == [
        "1 .db", "1 .txt", "2 folders @eaDir", "1 folder run that Refluence wrote", "1 hidden file",
        "1 image in no class folder", "1 link up to a folder above it",
    ]  # fmt: skip
    assert "the run in" in (said := refused(data / "run"))
    assert "is not finished" in said


def test_loops_of_links(tmp_path):
    os.symlink(".", tmp_path / "a")
    write(tmp_path / "x.png", picture(0))
    assert "has no class folders" in refused(tmp_path)


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    class_folders(tmp_path, COUNTS)
    scan = os.scandir

    def closed(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", closed)
    assert refused(tmp_path).endswith("dog cannot be read: Permission denied")


def test_subfolders_of_classes_are_merged_aloud(tmp_path):
    for name in ("a/airfield", "a/alley", "b/bar"):
        class_folders(tmp_path / name, {".": 4})
    note = said(tmp_path)
    assert "subfolders of 1 of 2 classes are merged into them (a: airfield, alley)" in note
    assert f"data='{tmp_path}/a' reads" in note
    assert "classes: airfield, alley" in line(tmp_path / "a")


@pytest.mark.parametrize("suffix", ["bmp", "tif", "TIFF", "gif", "ppm"])
def test_other_pictures_are_read_where_no_usual_ones_are(tmp_path, suffix):
    data = tmp_path / "set"
    for i in range(8):
        write(data / "ab"[i % 2] / f"{i}.{suffix}", picture(i))
    assert line(data) == "8 images in 2 classes: a, b; validation cut from train"
    rows = load(str(data)).train.rows.tolist()
    for i in range(8):
        write(data / "cd"[i % 2] / f"{i}.png", picture(10 + i))
    assert line(data).endswith(
        f"c, d; validation cut from train; passed over: 8 .{suffix.lower()}, 2 folders without jpg, png or webp (a, b)"
    )
    assert load(str(data)).train.rows.tolist() == rows


def test_frames_of_a_tif(tmp_path):
    class_folders(tmp_path, {"a": 3, "b": 3})
    for path in tmp_path.glob("*/*.png"):
        frames = [Image.open(path), picture(77)]
        frames[0].save(path.with_suffix(".tif"), save_all=True, append_images=frames[1:])
        path.unlink()
    assert "6 pictures have several frames" in said(tmp_path)


def test_class_names_that_nearly_agree(tmp_path):
    class_folders(tmp_path / "a" / "train", {"Cat": 4, "Dog": 4})
    class_folders(tmp_path / "a" / "test", {"cat": 1, "Dog": 1}, start=50)
    assert "the class 'cat' of the split test" in refused(tmp_path / "a")
    assert "train, which has 'Cat'" in refused(tmp_path / "a")
    parquet(tmp_path / "b" / "train.parquet", ["Cat", "Dog"] * 4)
    parquet(tmp_path / "b" / "validation.parquet", ["cat", "Dog"], start=50)
    assert "the class 'cat' of the split validation" in refused(tmp_path / "b")
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    class_folders(tmp_path / "c" / "train", {composed: 4, "tea": 4})
    class_folders(tmp_path / "c" / "test", {decomposed: 2, "tea": 1}, start=50)
    data = load(str(tmp_path / "c"))
    assert data.classes == (composed, "tea")
    assert data.test.labels.tolist() == [0, 0, 1]
    assert "read as the same" in said(tmp_path / "c")
    class_folders(tmp_path / "c" / "train", {"Tea": 4, composed.upper(): 4}, start=70)
    data = load(str(tmp_path / "c"))
    assert data.classes == tuple(sorted((composed.upper(), "Tea", composed, "tea")))
    assert "read as the same" in said(tmp_path / "c")


def test_the_line_is_printed_by_commands_before_anything_is_decoded(tmp_path, capsys):
    splits(tmp_path / "pets", "Training", "Testing")
    (tmp_path / "pets" / "Training" / "cat" / "000.png").write_bytes(b"no picture")
    words = ["--data", str(tmp_path / "pets"), "--out", str(tmp_path / "run"), "--threads", "1"]
    assert main(["distill", *words, "--method", "random", "--ipc", "1"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(
        "pets: 16 images in 2 classes: cat, dog; train from Training (8), test from Testing (8); validation cut from train"
    )
    assert "000.png" in second
    assert main(["distill", *words, "--method", "random", "--ipc", "1", "--quiet"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_tables_below_and_beside(tmp_path):
    for name in (
        "plain_text/train-00000-of-00001-a09b.parquet",
        "default/train/0000.parquet",
        "snapshots/abc/data/train.parquet",
    ):
        parquet(tmp_path / name[0] / name, ["cat", "dog"] * 4)
    (tmp_path / "s" / "refs").mkdir()
    (tmp_path / "s" / "refs" / "main").write_text("abc")
    (tmp_path / "s" / "snapshots" / "older").mkdir()
    for name, inside in (("p", "plain_text"), ("d", "default"), ("s", "snapshots/abc")):
        assert (
            line(tmp_path / name)
            == f"8 images in 2 classes: cat, dog; read from {inside}; train from train (8); validation cut from train"
        )
    parquet(tmp_path / "p" / "other" / "train.parquet", ["owl", "elk"] * 4)
    assert f"name one, for example data='{tmp_path}/p/other'" in refused(tmp_path / "p")
    assert "classes: elk, owl" in load(f"{tmp_path}/p:other").notes[0]
    parquet(tmp_path / "e" / "cats.parquet", ["cat", "dog"] * 4)
    assert "read from cats.parquet" in line(tmp_path / "e")
    assert load(str(tmp_path / "e" / "cats.parquet")).classes == ("cat", "dog")
    parquet(tmp_path / "e" / "dogs.parquet", ["cat", "dog"] * 4)
    assert "whose names spell no split (cats.parquet, dogs.parquet)" in refused(tmp_path / "e")
    class_folders(tmp_path / "d" / "default" / "test", COUNTS)
    assert "images in its folders (test) are read only where" in said(tmp_path / "d" / "default")
    parquet(tmp_path / "e" / "train.parquet", ["cat", "dog"] * 4)
    parquet(tmp_path / "e" / "test" / "0000.parquet", ["cat", "dog"], start=60)
    assert "tables in its folders test are not read" in said(tmp_path / "e")
    assert line(tmp_path / "e").endswith("train from train (8); validation cut from train; passed over: 2 other .parquet")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train-00000-of-00003", "train-00002-of-00003"), "2 of 3 shards: train-00001-of-00003.parquet is missing"),
        (("train-00000-of-00003-ab", "train-00001-of-00003-ab"), "train-00002-of-00003-ab.parquet is missing"),
        (("train-00000-of-00002", "train-00001-of-00003"), "mixes shards of several versions"),
        (("train/0000", "train/0003"), "2 of 4 shards: 0001.parquet is missing, and 1 more"),
    ],
)
def test_missing_shards_are_refused(tmp_path, names, expected):
    for name in names:
        parquet(tmp_path / f"{name}.parquet", ["cat", "dog"] * 2)
    assert expected in refused(tmp_path)


@pytest.mark.parametrize(
    "names", [("train-00001-of-00002", "train-00002-of-00002"), ("part-00000-x", "part-00001-x"), ("0000",)]
)
def test_whole_shards_are_read(tmp_path, names):
    for i, name in enumerate(names):
        parquet(tmp_path / f"{name}.parquet", ["cat", "dog"] * 4, start=10 * i)
    assert line(tmp_path).startswith(f"{8 * len(names)} images in 2 classes")


def test_save_to_disk(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    images = [picture(i) for i in range(8)]
    rows = datasets.Dataset.from_dict({"image": images, "label": [0, 1] * 4}, features=features)
    rows.save_to_disk(tmp_path / "one")
    parts = {"train": rows, "test": rows.select([0, 1]), "extra": rows.select([0])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "all")
    assert line(tmp_path / "one") == "8 images in 2 classes: cat, dog; validation cut from train"
    assert line(tmp_path / "all") == (
        "10 images in 2 classes: cat, dog; train from train (8), test from test (2); validation cut from train; "
        "passed over: split extra (1 images)"
    )
    next((tmp_path / "all" / "train").glob("*.arrow")).unlink()
    assert "looks saved by save_to_disk, and cannot be loaded" in refused(tmp_path / "all")


def test_splits_inside_of_what_would_be_classes_are_refused(tmp_path):
    for name, i in (("bottle", 0), ("cable", 50)):
        class_folders(tmp_path / "mvtec" / name / "train", {"good": 6}, start=i)
        class_folders(tmp_path / "mvtec" / name / "test", {"good": 3, "broken": 3}, start=i + 20)
    assert "mvtec/bottle holds splits of its own (train, test): data=" in refused(tmp_path / "mvtec")
    for name in ("cat", "dog"):
        class_folders(tmp_path / "pets" / name, {"train": 6, "test": 3}, start=len(name))
    assert "lay the images as" in refused(tmp_path / "pets")


def test_subfolders_below_one_wrapping_folder_are_merged_aloud(tmp_path):
    for i, name in enumerate(("amazon", "dslr")):
        class_folders(tmp_path / name / "images", COUNTS, start=100 * i)
    assert "the subfolders of 2 of 2 classes are merged into them (amazon: cat, dog; dslr: cat, dog)" in said(tmp_path)
