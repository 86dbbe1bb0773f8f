"""`--rows N`: only so many training rows."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import refluence as rf
from refluence.cli import main
from refluence.data import SourceOptions, load
from refluence.data.splits import first
from refluence.data.truth import wrong
from refluence.errors import InputError
from refluence.files import read_json
from support.pictures import parquet

LABELS, ROWS = np.repeat([0, 1, 2], [300, 90, 10]), np.arange(400)


def together(data):
    """The rows of train and of the validation split cut from it."""
    return {*data.train.rows.tolist(), *data.val.rows.tolist()}


@pytest.mark.parametrize("count", [3, 40, 100, 399, 400, 1000])
def test_classes_keep_their_proportions(count):
    kept = np.bincount(LABELS[first(LABELS, ROWS, count)], minlength=3)
    assert kept.sum() == min(count, 400)
    quota = np.array([300, 90, 10]) * min(count, 400) / 400
    assert abs(kept - quota).max() < 1


def test_fewer_rows_are_a_subset_of_more_whatever_their_order():
    taken = [set(ROWS[first(LABELS, ROWS, count)]) for count in range(1, 401)]
    assert all(less < more for less, more in itertools.pairwise(taken))
    order = np.random.default_rng(0).permutation(400)
    assert set(ROWS[order][first(LABELS[order], ROWS[order], 70)]) == taken[69]


def test_rows_are_kept_before_validation_is_cut_and_test_stays_whole():
    whole, some, fewer = (rf.load("digits", rows=rows) for rows in (None, 500, 200))
    for data, count in ((some, 500), (fewer, 200)):
        assert len(together(data)) == len(data.train) + len(data.val) == count
        assert abs(len(data.val) - count / 10) <= 5
        assert torch.equal(data.test.rows, whole.test.rows)
        said = f"rows={count}: {count} of {len(together(whole))} training images are kept, class by class in proportion, val"
        assert any(said in note for note in data.notes)
    assert together(fewer) < together(some) < together(whole)
    here = torch.isin(whole.train.rows, some.train.rows)
    both = torch.isin(some.train.rows, whole.train.rows)
    assert torch.equal(whole.train.images[here], some.train.images[both])
    means = some.train.images.double().mean() / 255
    assert some.mean == pytest.approx((means.item(),))


@pytest.mark.parametrize("rows", [1438, 5000])
def test_as_many_rows_as_there_are_are_no_choice(rows):
    whole, all_of_them = rf.load("digits"), rf.load("digits", rows=rows)
    assert torch.equal(whole.train.rows, all_of_them.train.rows)
    assert (all_of_them.notes, all_of_them.options) == (whole.notes, whole.options)


def test_a_stored_validation_split_stays_whole(tmp_path):
    for name, start, count in (("train", 0, 40), ("val", 100, 10), ("test", 200, 10)):
        parquet(tmp_path / f"{name}.parquet", [0, 1] * count, start=start)
    data = load(str(tmp_path), SourceOptions(rows=20))
    assert (len(data.train), len(data.val), len(data.test)) == (20, 20, 20)
    assert data.train.labels.bincount().tolist() == [10, 10]


def test_rows_are_chosen_by_the_labels_of_the_source_and_wrong_ones_are_a_share_of_those_kept(tmp_path):
    plain = rf.load("digits", rows=500)
    noisy = rf.load("digits", rows=500, noise="symmetric:0.4")
    assert torch.equal(plain.train.rows, noisy.train.rows)
    counts = torch.bincount(torch.cat([plain.train.labels, plain.val.labels])).tolist()
    assert sum(int(wrong(split).sum()) for split in (noisy.train, noisy.val)) == sum(round(0.4 * n) for n in counts)
    clean = [row % 2 for row in range(80)]
    parquet(tmp_path / "train.parquet", clean)
    parquet(tmp_path / "test.parquet", [0, 1], start=100)
    pq.write_table(
        pa.table({"votes": [0 if row % 3 else label for row, label in enumerate(clean)]}), tmp_path / "votes.parquet"
    )
    some = load(str(tmp_path), SourceOptions(rows=40, labels=f"{tmp_path}/votes.parquet:votes"))
    assert torch.cat([some.train.stored, some.val.stored]).bincount().tolist() == [20, 20]
    assert together(some) == together(load(str(tmp_path), SourceOptions(rows=40)))


def test_scores_of_more_rows_drop_and_relabel_those_that_are_kept(tmp_path):
    whole, some = rf.load("digits"), rf.load("digits", rows=300)
    rows, labels = some.train.rows.tolist(), some.train.labels
    everyone = sorted(together(whole))
    label = dict(
        zip(whole.train.rows.tolist() + whole.val.rows.tolist(), [*whole.train.labels, *whole.val.labels], strict=True)
    )
    columns = {"index": everyone, "score": [float(row) for row in everyone]}
    columns |= {name: [(int(label[row]) + more) % 10 for row in everyone] for name, more in (("label", 0), ("suggested", 1))}
    pq.write_table(pa.table(columns), tmp_path / "s.parquet")
    worst = set(sorted(rows)[-round(0.2 * len(rows)) :])
    dropped = rf.load("digits", rows=300, drop=f"{tmp_path}/s.parquet:0.2")
    assert dropped.train.rows.tolist() == [row for row in rows if row not in worst]
    relabelled = rf.load("digits", rows=300, relabel=f"{tmp_path}/s.parquet:0.2")
    moved = torch.tensor([row in worst for row in rows])
    assert torch.equal(relabelled.train.labels, torch.where(moved, (labels + 1) % 10, labels))


@pytest.mark.parametrize("rows", [0, -3])
def test_no_rows_at_all_are_refused_at_both_doors(capsys, tmp_path, rows):
    with pytest.raises(InputError, match=rf"^rows is {rows}: it must be a whole number, at least 1"):
        rf.load("digits", rows=rows)
    assert main(["distill", "--data", "digits", "--rows", str(rows), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert f"--rows {rows}: it must be a whole number, at least 1" in said
    assert said.count("\n") == 1


def test_too_few_rows_for_a_class_are_one_line():
    with pytest.raises(InputError, match=r"^digits: too few training images after the validation cut in '\d' \(0\)"):
        rf.load("digits", rows=5)


def test_a_run_records_its_rows_alone_where_they_are_asked_for(tmp_path):
    for rows in (None, 200):
        run = rf.select(rf.load("digits", rows=rows), "random", ipc=1, nets=1, epochs=1, width=4, out=tmp_path / str(rows))
        recorded = read_json(run.folder / "config.json")["resolved"]["data"]["options"]
        assert recorded.get("rows") == rows
        assert ("rows" in recorded) == (rows is not None)
