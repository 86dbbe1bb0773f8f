"""Labels of every kind, label files, and what is said when they cannot be used."""

import unicodedata

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from refluence.data import SourceOptions, load
from refluence.errors import InputError
from support.pictures import class_folders, labels_of, parquet

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
        ([0, 1, 2, -1] * 5, r"5 of 20 labels are missing \(rows 3, .*-1 marks a missing label"),
        ([1, 2, -1] * 4, r"4 of 12 labels are missing \(rows 2, 5, 8, 11\)"),
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


def test_minus_one_beside_one_is_a_class(tmp_path):
    parquet(tmp_path / "train.parquet", [-1, 1] * 5)
    assert load(str(tmp_path)).classes == ("-1", "1")


def test_names_that_programs_write_for_missing_labels_are_said(tmp_path):
    parquet(tmp_path / "train.parquet", ["cat", "dog", "nan", "none"] * 5)
    notes = load(str(tmp_path)).notes
    assert any("'nan' (5 images): kept as a class" in note for note in notes)
    assert not any("'none' (" in note for note in notes)


def test_classes_that_look_alike_are_said(tmp_path):
    parquet(tmp_path / "train.parquet", ["cat", "cat ", "\u00e1", "a\u0301"] * 5)
    data = load(str(tmp_path))
    assert len(data.classes) == 4
    assert any("'cat' and 'cat ', 'a\\u0301' and '\\xe1'" in note and "kept apart" in note for note in data.notes)


@pytest.mark.parametrize("classes", [(0, 1), (1, 2)])
def test_minus_one_in_the_stored_test_split_is_missing(tmp_path, classes):
    parquet(tmp_path / "train.parquet", list(classes) * 5)
    parquet(tmp_path / "test.parquet", [1, -1], start=50)
    with pytest.raises(InputError, match=r"test.parquet: 1 of 2 labels are missing \(rows 1\)"):
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
        ([0, 5] * 10, "votes.parquet:human", r"row 1 of labels='votes.*'5' is no class of .*\(0, 1\)"),
        ([0, None] * 10, "votes.parquet:human", r"10 of 20 labels are missing"),
        ([0, 0.5] * 10, "votes.parquet:human", r"0.5 is not a whole number"),
        ([[0], [1]] * 10, "votes.parquet:human", r"row 0 of labels='votes.*label \[0\] is neither a number nor a name"),
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


HUMAN = ["águila", "zorro", "zorro", "águila"] * 3


@pytest.fixture
def birds(tmp_path):
    """Six images of zorro, then six of águila (their order in Unicode), and a stored test split."""
    class_folders(tmp_path / "set" / "train", {"águila": 6, "zorro": 6})
    class_folders(tmp_path / "set" / "test", {"águila": 1, "zorro": 1}, start=50)
    return lambda data, name="votes.csv", column="human": _labelled(tmp_path, data, name, column)


def _labelled(tmp_path, data, name, column):
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    data = load(str(tmp_path / "set"), SourceOptions(labels=f"{tmp_path / name}:{column}"))
    return [data.classes[label] for label in data.train.labels.tolist()], data


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("votes.csv", "human\n" + "\n".join(HUMAN) + "\n\n  \n"),
        ("votes.csv", ("human\n" + "\n".join(HUMAN)).encode("cp1252")),
        ("votes.csv", ("human\n" + "\n".join(HUMAN)).encode("utf-16")),
        ("votes.csv", ("human\n" + "\n".join(HUMAN)).encode("utf-8-sig")),
        ("votes.csv", "human\n" + "\n".join(f" {unicodedata.normalize('NFD', name)}" for name in HUMAN)),
        ("votes.csv", "id;human\r\n" + "".join(f"{i};{name}\r\n" for i, name in enumerate(HUMAN))),
        ("votes.tsv", "id\thuman\n" + "".join(f"{i}\t{name}\n" for i, name in enumerate(HUMAN))),
        ("votes.csv", "sep=;\r\na,b;human\r\n" + "".join(f"1,2;{name}\r\n" for name in HUMAN)),
        ("votes.txt", "human|id\r" + "\r".join(f"{name}|{i}" for i, name in enumerate(HUMAN))),
        ("votes.csv", "note,human,\n" + "".join(f'"{i},\n",{name},\n' for i, name in enumerate(HUMAN))),
    ],
)
def test_text_files_of_every_make(birds, name, data):
    labels, loaded = birds(data, name)
    assert labels == [HUMAN[row] for row in loaded.train.rows.tolist()]
    assert any("Windows-1252" in note for note in loaded.notes) == (data == ("human\n" + "\n".join(HUMAN)).encode("cp1252"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"human\nzorro\n\x81\n", r"row 1 of .*votes.csv is no UTF-8 \(byte 0x81\)"),
        ("human\n" + "zorro\n" * 5 + "\n" + "zorro\n" * 6, r"1 of 12 labels are missing \(rows 5\)"),
        ("note,human\n" + "1,x,zorro\n" * 12, r"row 0 of .* has 3 fields, the header line 2"),
        ("human\n" + "zo\0rro\n" * 12, r"zero bytes"),
        ("human,human\n" + "zorro,zorro\n" * 12, r"several columns 'human'"),
        ("a;b\n" + "1;zorro\n" * 12, r"no column 'human'; it has a, b"),
        (
            ",human\n" + "".join(f"{11 - i},zorro\n" for i in range(12)),
            r"column '' has the rows in another order .*'11'",
        ),
        (
            "path,human\n" + "".join(f"{name}/00{i}.png,{name}\n" for name in ("águila", "zorro") for i in range(6)),
            r"column 'path' has the rows in another order .*row 0: 'águila/000.png', there 'zorro/000.png'",
        ),
    ],
)
def test_text_files_that_cannot_be_used(birds, data, message):
    with pytest.raises(InputError, match=message):
        birds(data)


@pytest.mark.parametrize("named", [False, True])
def test_whole_numbers_with_a_point_in_text(tmp_path, named):
    """As pandas writes integers beside missing values: for numbers, for numbered names, and for folders called 0, 1."""
    human = [1, 1, 0, 0] * 5
    if named:
        class_folders(tmp_path, {"0": 10, "1": 10})
        source = str(tmp_path)
    else:
        source = noisy(tmp_path)
    (tmp_path / "votes.csv").write_text("human\n" + "".join(f"{v}.0\n" for v in human))
    data = load(source, SourceOptions(labels=f"{tmp_path}/votes.csv:human"))
    assert data.train.labels.tolist() == [human[row] for row in data.train.rows.tolist()]


def test_a_shuffled_index_in_parquet(tmp_path):
    source = noisy(tmp_path)
    pq.write_table(pa.table({"human": [0, 1] * 10, "index": list(range(20))[::-1]}), tmp_path / "votes.parquet")
    with pytest.raises(InputError, match=r"column 'index' has the rows in another order"):
        load(source, SourceOptions(labels=f"{tmp_path}/votes.parquet:human"))
