"""Which instances are known to be wrong."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import refluence as rf
from refluence.data import SourceOptions, Split, load
from refluence.data.truth import wrong
from support.pictures import parquet

NAMES = ["plane", "car", "bird"]


def split(stored=None, shifted=None):
    stored, shifted = (None if value is None else torch.tensor(value) for value in (stored, shifted))
    return Split(torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 0, 1]), torch.arange(4), stored=stored, shifted=shifted)


def test_a_row_is_wrong_by_its_label_or_its_domain():
    assert wrong(split()) is None
    assert wrong(split(stored=[0, 0, 0, -1])).tolist() == [False, True, False, True]
    assert wrong(split(shifted=[True, False, False, False])).tolist() == [True, False, False, False]
    assert wrong(split([0, 0, 0, 1], [True, False, False, False])).tolist() == [True, True, False, False]


def test_it_stays_with_the_rows_that_are_taken():
    whole = split([0, 0, 0, 1], [True, False, False, False])
    assert wrong(whole.take(torch.tensor([3, 1, 0]))).tolist() == [False, True, True]
    assert wrong(whole.first(1)).tolist() == [True, True]


@pytest.mark.parametrize(("named", "votes"), [(False, "numbers"), (True, "numbers"), (True, "names")])
def test_the_labels_of_a_table_beside_those_of_the_source(tmp_path, named, votes):
    """As CIFAR-10N lies beside CIFAR-10: another table, row by row, by number or name, of a source with or without names."""
    import datasets

    clean = [row * 7 % 3 for row in range(60)]
    human = [(label + (row % 5 == 0)) % 3 for row, label in enumerate(clean)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    parquet(tmp_path / "train.parquet", clean, features=features if named else None)
    parquet(tmp_path / "test.parquet", [0, 1, 2], start=100, features=features if named else None)
    given = human if votes == "numbers" else [NAMES[label] for label in human]
    pq.write_table(pa.table({"clean_label": clean, "random_label1": given}), tmp_path / "votes.parquet")
    data = load(str(tmp_path), SourceOptions(labels=f"{tmp_path}/votes.parquet:random_label1"))
    for part in (data.train, data.val):
        assert wrong(part).tolist() == [row % 5 == 0 for row in part.rows.tolist()]
        named_here = [data.classes[label] for label in part.labels.tolist()]
        assert named_here == [str(NAMES[human[row]] if named else human[row]) for row in part.rows.tolist()]
    assert wrong(data.test) is None


def test_labels_of_a_source_that_has_none_are_no_truth(tmp_path):
    parquet(tmp_path / "test.parquet", [0, 1], start=100)
    votes = tmp_path / "votes.csv"
    votes.write_text("y\n" + "0\n1\n" * 20)
    for known, lacking in ((True, 1), (False, 40)):
        parquet(tmp_path / "train.parquet", [None] * lacking + [0] * (40 - lacking))
        data = load(str(tmp_path), SourceOptions(labels=f"{votes}:y"))
        expected = [row % 2 and row >= lacking for row in data.train.rows.tolist()]
        assert (wrong(data.train).tolist() == expected) if known else (wrong(data.train) is None)


def test_wrong_labels_on_purpose_and_mended_ones(tmp_path):
    data = rf.load("digits", noise="symmetric:0.4")
    plain = rf.load("digits").train
    assert torch.equal(wrong(data.train), data.train.labels != plain.labels)
    rows, labels = data.train.rows.tolist(), data.train.labels.tolist()
    columns = {"index": rows, "label": labels, "suggested": plain.labels.tolist(), "score": wrong(data.train).tolist()}
    pq.write_table(pa.table({**columns, "score": [float(value) for value in columns["score"]]}), tmp_path / "s.parquet")
    mended = rf.load("digits", noise="symmetric:0.4", relabel=f"{tmp_path}/s.parquet:0.2").train
    assert int(wrong(data.train).sum()) - int(wrong(mended).sum()) == round(0.2 * len(plain))
