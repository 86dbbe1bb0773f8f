"""The validation split: the source's own one, or cut from train."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from refluence.data import SourceOptions, load
from refluence.errors import InputError
from support.pictures import class_folders, parquet, picture, write

NAMES = ["cat", "dog"]


def three(folder, train="train", val="validation", test="test", **columns):
    """Tables of three splits, 12, 4 and 6 rows; no picture twice."""
    for name, count, start in ((train, 12, 0), (val, 4, 50), (test, 6, 80)):
        more = {key: make(name, count) for key, make in columns.items()}
        parquet(folder / f"{name}.parquet", NAMES * (count // 2), start=start, **more)
    return str(folder)


def sizes(data):
    return len(data.train), len(data.val), len(data.test)


@pytest.mark.parametrize("name", ["validation", "val", "Valid", "dev"])
def test_a_stored_validation_split_is_used_whole_and_nothing_is_cut(tmp_path, name):
    data = load(three(tmp_path / "tables", val=name))
    assert sizes(data) == (12, 4, 6)
    assert data.validation == f"split '{name}'"
    assert data.notes[0].endswith(f"train from train (12), validation from {name} (4), test from test (6)")
    assert torch.equal(data.val.rows, torch.arange(4))
    assert not any("duplicates" in note for note in data.notes)
    for i, split in enumerate(("train", name, "test")):
        class_folders(tmp_path / "pictures" / split, {"cat": 4 - i, "dog": 4}, start=100 * i)
    assert sizes(load(str(tmp_path / "pictures"))) == (8, 7, 6)


def test_shards_as_the_hub_names_them(tmp_path):
    for name, start in (("train-00000-of-00001", 0), ("validation-00000-of-00001", 50), ("test-00000-of-00001", 80)):
        parquet(tmp_path / "data" / f"{name}.parquet", NAMES * 4, start=start)
    assert load(str(tmp_path)).validation == "split 'validation'"


def test_without_a_usable_one_it_is_cut_from_train(tmp_path):
    assert load("digits").validation == "cut from train"
    assert "validation cut from train" in load("digits").notes[0]
    both = load(three(tmp_path / "a", train="trainval"))  # which holds the validation rows itself
    assert both.validation == "cut from train"
    assert len(both.train) + len(both.val) == 12
    assert any("'trainval' holds the stored split 'validation'" in note for note in both.notes)
    three(tmp_path / "b")
    parquet(tmp_path / "b" / "validation.parquet", [None, None], start=50)
    hidden = load(str(tmp_path / "b"))
    assert hidden.validation == "cut from train"
    assert any("'validation' has no labels" in note for note in hidden.notes)
    three(tmp_path / "c")
    (tmp_path / "c" / "test.parquet").unlink()  # then it takes the place of the test split
    assert load(str(tmp_path / "c")).validation == "cut from train"


def test_only_its_labelled_rows_count(tmp_path):
    three(tmp_path)
    parquet(tmp_path / "validation.parquet", ["cat", None, "dog"], start=50)
    data = load(str(tmp_path))
    assert data.val.rows.tolist() == [0, 2]
    assert any("1 of 3 images of" in note and "have no label" in note for note in data.notes)


def test_its_classes_are_those_of_train(tmp_path):
    three(tmp_path)
    parquet(tmp_path / "validation.parquet", ["cat", "fox"], start=50)
    with pytest.raises(InputError, match=r"split validation .*1 of its classes to itself \(fox"):
        load(str(tmp_path))
    data = load(str(tmp_path), SourceOptions(small_classes="drop"))
    assert (data.classes, data.val.labels.tolist()) == (("cat", "dog"), [0])
    assert "no validation image of 1 classes: dog" in data.notes
    parquet(tmp_path / "validation.parquet", ["fox", "cow"], start=50)
    with pytest.raises(InputError, match=r"validation.parquet has no image left of the classes cat, dog"):
        load(str(tmp_path), SourceOptions(small_classes="drop"))


def test_no_group_is_in_two_of_three_splits(tmp_path):
    first = {"train": 0, "validation": 5, "test": 7}  # groups of two rows: train 0-5, validation 5-6, test 7-9
    source = three(tmp_path, who=lambda name, count: [first[name] + i // 2 for i in range(count)])
    data = load(source, SourceOptions(group_column="who"))
    assert sizes(data) == (10, 4, 6)
    assert "2 training images are left out: their group is in the validation split too" in data.notes
    parquet(tmp_path / "test.parquet", NAMES * 2, start=80, who=[6, 6, 0, 0])
    data = load(source, SourceOptions(group_column="who"))
    assert (data.train.rows.tolist(), data.val.rows.tolist()) == (list(range(2, 10)), [0, 1])
    assert "2 validation images are left out: their group is in the test split too" in data.notes


def test_other_labels_and_dropped_rows_concern_train_alone(tmp_path):
    source = three(tmp_path / "set")
    plain = load(source)
    pq.write_table(pa.table({"l": ["dog", "cat"] * 6}), tmp_path / "l.parquet")
    pq.write_table(pa.table({"index": list(range(12)), "score": np.arange(12.0)}), tmp_path / "s.parquet")
    data = load(source, SourceOptions(labels=f"{tmp_path}/l.parquet:l", drop=f"{tmp_path}/s.parquet:0.25"))
    assert torch.equal(data.train.labels, 1 - plain.train.labels[:9])
    assert torch.equal(data.val.labels, plain.val.labels)
    assert any("validation and test labels are unchanged" in note for note in data.notes)


def test_corrupt_and_repeated_pictures_of_it_are_counted(tmp_path, cache_folder):
    for i, split in enumerate(("train", "val", "test")):
        class_folders(tmp_path / split, {"cat": 4, "dog": 4}, start=100 * i)
    write(tmp_path / "val" / "cat" / "000.png", picture(0))  # one of train
    (tmp_path / "val" / "dog" / "000.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"dog/000.png \(row 4 of .*val\) cannot be read"):
        load(str(tmp_path))
    data = load(str(tmp_path), SourceOptions(skip_corrupt=True))
    assert data.val.rows.tolist() == [0, 1, 2, 3, 5, 6, 7]
    assert any("1 validation images are also in train" in note for note in data.notes)
    entries = sorted(path.name for path in cache_folder.iterdir())
    assert len(entries) == 3  # one a split, and taken from there the next time
    again = load(str(tmp_path), SourceOptions(skip_corrupt=True))
    assert torch.equal(again.val.images, data.val.images)
    assert sorted(path.name for path in cache_folder.iterdir()) == entries
