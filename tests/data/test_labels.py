"""Labels of every kind, label files, and what is said when they cannot be used."""

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pictures import class_folders, labels_of, parquet

from refluence.data import SourceOptions, load
from refluence.errors import InputError

NAMED = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["x", "unused", "y"])})


def test_unused_class_names_are_left_out(tmp_path):
    parquet(tmp_path / "train.parquet", labels_of({0: 6, 2: 6}), features=NAMED)
    data = load(str(tmp_path))
    assert data.classes == ("x", "y")
    assert torch.equal(data.train.labels, (data.train.rows >= 6).long())
    assert any("unused" in note for note in data.notes)


def test_splits_that_number_the_same_names_differently(tmp_path):
    swapped = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["y", "x"])})
    parquet(tmp_path / "train.parquet", labels_of({0: 6, 2: 6}), features=NAMED)
    parquet(tmp_path / "test.parquet", [0, 1], start=50, features=swapped)
    data = load(str(tmp_path))
    assert data.classes == ("x", "y")
    assert data.test.labels.tolist() == [1, 0]


def test_whole_floats_and_booleans(tmp_path):
    parquet(tmp_path / "train.parquet", [0.0, 1.0] * 5)
    assert load(str(tmp_path)).classes == ("0", "1")
    parquet(tmp_path / "b" / "train.parquet", [False, True] * 5)
    assert load(str(tmp_path / "b")).classes == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, None] * 4, r"4 of 12 labels are missing \(rows 2, 5, 8, 11\)"),
        ([0.0, 1.0, float("nan")] * 4, r"4 of 12 labels are missing"),
        (["a", "b", ""] * 4, r"4 of 12 labels are missing"),
        ([0.0, 1.5] * 5, r"row 1 of .*train.parquet: label 1.5 is not a whole number"),
        ([[0], [1]] * 5, r"no label column"),
        ([b"a", b"b"] * 5, r"no label column"),
        ([0] * 10, r"has 1 class \(0\): at least 2"),
        ([], r"has no rows"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, labels, message):
    if labels:
        parquet(tmp_path / "train.parquet", labels)
    else:
        schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
        pq.write_table(schema.empty_table(), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=message):
        load(str(tmp_path))


def test_labels_that_are_lists(tmp_path):
    parquet(tmp_path / "train.parquet", [[0], [1]] * 5)
    with pytest.raises(InputError, match=r"row 0 of .*label \[0\] is neither a number nor a name"):
        load(str(tmp_path), SourceOptions(label_column="label"))


def test_label_outside_the_names(tmp_path):
    parquet(tmp_path / "train.parquet", labels_of({0: 6, 2: 6}), features=NAMED)
    table = pq.read_table(tmp_path / "train.parquet")
    labels = pa.array([*table["label"].to_pylist()[:-1], 3], pa.int64())
    pq.write_table(table.set_column(1, table.schema.field("label"), labels), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"row 11 of .*label 3 is outside 0 … 2 \(x, unused, y\)"):
        load(str(tmp_path))


def test_names_beside_numbers(tmp_path):
    parquet(tmp_path / "train.parquet", ["0", "1"] * 5)
    parquet(tmp_path / "test.parquet", [0, 1], start=50)
    with pytest.raises(InputError, match=r"mix names and numbers"):
        load(str(tmp_path))


def noisy(tmp_path, labels=None):
    """Train of 20 rows, clean labels 0 1 0 1 …, and a stored test split."""
    parquet(tmp_path / "train.parquet", labels or [0, 1] * 10)
    parquet(tmp_path / "test.parquet", [0, 1], start=50)
    return str(tmp_path)


def test_labels_file_replaces_train_alone(tmp_path):
    source = noisy(tmp_path)
    human = [1, 1, 0, 0] * 5
    pq.write_table(pa.table({"human": human}), tmp_path / "votes.parquet")
    data = load(source, SourceOptions(labels=f"{tmp_path}/votes.parquet:human"))
    for split in (data.train, data.val):
        assert split.labels.tolist() == [human[row] for row in split.rows.tolist()]
    assert data.test.labels.tolist() == [0, 1]
    assert any("10 of 20 differ" in note and "test labels are unchanged" in note for note in data.notes)


def test_labels_file_as_csv(tmp_path):
    source = noisy(tmp_path)
    human = [1, 1, 0, 0] * 5
    (tmp_path / "votes.csv").write_text("row,human\n" + "\n".join(f"{i},{v}" for i, v in enumerate(human)) + "\n")
    data = load(source, SourceOptions(labels=f"{tmp_path}/votes.csv:human"))
    assert data.train.labels.tolist() == [human[row] for row in data.train.rows.tolist()]


def test_labels_file_by_name(tmp_path):
    class_folders(tmp_path / "train", {"cat": 6, "dog": 6})
    class_folders(tmp_path / "test", {"cat": 1, "dog": 1}, start=50)
    (tmp_path / "votes.csv").write_text("who\n" + "dog\ncat\n" * 6)
    data = load(str(tmp_path), SourceOptions(labels=f"{tmp_path}/votes.csv:who"))
    assert data.train.labels.tolist() == [1 - row % 2 for row in data.train.rows.tolist()]


def test_labels_file_mends_missing_labels(tmp_path):
    source = noisy(tmp_path, [0, None] * 10)
    pq.write_table(pa.table({"human": [0, 1] * 10}), tmp_path / "votes.parquet")
    data = load(source, SourceOptions(labels=f"{tmp_path}/votes.parquet:human"))
    assert data.train.labels.tolist() == [row % 2 for row in data.train.rows.tolist()]


def test_test_split_cut_from_train_keeps_the_labels_of_the_source(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 20)
    human = [1, 1, 0, 0] * 10
    pq.write_table(pa.table({"human": human}), tmp_path / "votes.parquet")
    data = load(str(tmp_path), SourceOptions(labels=f"{tmp_path}/votes.parquet:human"))
    assert data.test.labels.tolist() == [row % 2 for row in data.test.rows.tolist()]
    assert data.train.labels.tolist() == [human[row] for row in data.train.rows.tolist()]
    assert torch.equal(data.test.rows, load(str(tmp_path)).test.rows)


@pytest.mark.parametrize(
    ("column", "pair", "message"),
    [
        ([0, 1] * 9, "votes.parquet:human", r"has 18 rows, .*train.parquet has 20"),
        ([0, 5] * 10, "votes.parquet:human", r"row 1 of --labels .*'5' is no class of .*\(0, 1\)"),
        ([0, None] * 10, "votes.parquet:human", r"10 of 20 labels are missing"),
        ([0, 0.5] * 10, "votes.parquet:human", r"0.5 is not a whole number"),
        ([0, 1] * 10, "votes.parquet:robot", r"no such column; it has human"),
        ([0, 1] * 10, "vote.parquet:human", r"there is no file"),
        ([0, 1] * 10, "votes.parquet", r"expected FILE:COLUMN"),
    ],
)
def test_labels_files_that_cannot_be_used(tmp_path, monkeypatch, column, pair, message):
    source = noisy(tmp_path)
    pq.write_table(pa.table({"human": column}), tmp_path / "votes.parquet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load(source, SourceOptions(labels=pair))
