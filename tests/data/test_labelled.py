"""`--labelled N`: labels of only so many training rows; `--imbalance RATIO`: a long tail."""

import itertools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import refluence as rf
from refluence.data import SourceOptions, load
from refluence.data.imbalance import counts, long_tailed
from refluence.data.labelled import known
from refluence.data.origin import changed, digest
from refluence.data.truth import wrong
from refluence.errors import InputError
from refluence.files import read_json
from refluence.jobs.session import Machine, open_session
from support.pictures import parquet

LABELS, ROWS = np.repeat([0, 1, 2], [300, 90, 10]), np.arange(400)


def together(data):
    return {*data.train.rows.tolist(), *data.unlabelled.rows.tolist()}


def test_each_class_has_as_many_labels_and_a_small_one_all_it_has():
    assert np.bincount(LABELS[known(LABELS, ROWS, 24)]).tolist() == [8, 8, 8]
    assert np.bincount(LABELS[known(LABELS, ROWS, 110)]).tolist() == [50, 50, 10]
    assert known(LABELS, ROWS, 500).all()
    taken = [set(ROWS[known(LABELS, ROWS, count)]) for count in range(1, 401)]
    assert all(less < more and len(more) == count for count, (less, more) in enumerate(itertools.pairwise(taken), 2))
    order = np.random.default_rng(0).permutation(400)
    assert set(ROWS[order][known(LABELS[order], ROWS[order], 70)]) == taken[69]


def test_the_other_rows_have_no_label_and_nothing_else_changes():
    whole, some = rf.load("digits"), rf.load("digits", labelled=100)
    assert some.train.labels.bincount().tolist() == [10] * 10
    assert len(some.train) + len(some.unlabelled) == len(whole.train)
    assert together(some) == set(whole.train.rows.tolist())
    assert bool((some.unlabelled.labels == -1).all())
    for name in ("val", "test"):
        assert torch.equal(getattr(some, name).rows, getattr(whole, name).rows)
        assert torch.equal(getattr(some, name).labels, getattr(whole, name).labels)
    assert (some.mean, some.std) == (whole.mean, whole.std), "images without labels are images too"
    position = {row: at for at, row in enumerate(whole.train.rows.tolist())}
    at = torch.tensor([position[row] for row in some.unlabelled.rows.tolist()])
    assert torch.equal(some.unlabelled.images, whole.train.images[at])
    assert torch.equal(some.unlabelled.stored, whole.train.labels[at])
    assert any(f"labelled=100: labels of 100 of {len(whole.train)} training images are known" in note for note in some.notes)
    assert f"train 100 and {len(some.unlabelled)} without labels" in repr(some)


def test_all_labels_are_known_where_there_are_no_more(tmp_path):
    data = rf.load("digits", labelled=5000)
    assert data.unlabelled is None
    assert torch.equal(data.train.rows, rf.load("digits").train.rows)
    with pytest.raises(InputError, match=r"too few training images after the validation cut in '\d' \(0\)"):
        rf.load("digits", labelled=5)


def test_it_goes_with_rows_noise_shift_and_drop(tmp_path):
    data = rf.load("digits", labelled=100, rows=500, noise="symmetric:0.4", shift="mirror:0.25")
    plain = rf.load("digits", labelled=100, rows=500)
    assert torch.equal(data.train.rows, plain.train.rows)
    assert len(data.train) + len(data.unlabelled) + len(data.val) == 500
    assert bool((data.unlabelled.labels == -1).all())
    assert torch.equal(data.unlabelled.stored, plain.unlabelled.stored)
    assert 20 <= int(wrong(replace(data.train, shifted=None)).sum()) <= 60
    for part, before in ((data.train, plain.train), (data.unlabelled, plain.unlabelled)):
        moved = part.shifted
        assert 0 < int(moved.sum()) < len(part)
        assert torch.equal(part.images[moved], before.images[moved].flip(3))
        assert torch.equal(part.images[~moved], before.images[~moved])
    everyone = sorted(together(plain))
    pq.write_table(pa.table({"index": everyone, "score": [float(row) for row in everyone]}), tmp_path / "s.parquet")
    dropped = rf.load("digits", labelled=100, rows=500, drop=f"{tmp_path}/s.parquet:0.5")
    assert len(dropped.train) == 100
    assert max(together(dropped)) < max(everyone)


def test_data_with_other_unlabelled_rows_are_other_data():
    data = rf.load("digits", labelled=100)
    assert not changed(data)
    fewer = replace(data, unlabelled=data.unlabelled.take(torch.arange(50)))
    assert changed(fewer)
    assert changed(replace(data, unlabelled=None))
    assert len({digest(data), digest(fewer), digest(replace(data, unlabelled=None))}) == 3


def test_a_run_records_it_and_another_process_reads_the_same(tmp_path):
    data = rf.load("digits", labelled=100, imbalance=5)
    run = rf.select(data, "random", ipc=1, nets=1, epochs=1, width=4, out=tmp_path / "run")
    recorded = read_json(run.folder / "config.json")["resolved"]["data"]
    assert (recorded["options"]["labelled"], recorded["options"]["imbalance"]) == (100, 5)
    assert recorded["unlabelled"] == len(data.unlabelled)
    again = open_session(data, Machine()).reopened()().dataset
    assert torch.equal(again.unlabelled.rows, data.unlabelled.rows)
    assert torch.equal(again.train.rows, data.train.rows)


def test_a_long_tail_has_the_published_counts():
    assert counts(500, 100, 100)[:2] + counts(500, 100, 100)[-2:] == [500, 477, 5, 5]
    assert sum(counts(500, 100, 100)) == 10847, "CIFAR-100-LT"
    assert sum(counts(5000, 10, 100)) == 12406, "CIFAR-10-LT"
    assert counts(500, 3, 100) == [500, 50, 5]
    assert counts(7, 3, 1) == [7, 7, 7]
    assert counts(3, 2, 50) == [3, 1]


def test_a_longer_tail_is_a_subset_whatever_the_order_of_rows():
    labels = np.arange(600) % 3
    rows = np.arange(600)
    kept = {ratio: set(rows[long_tailed(labels, rows, ratio)]) for ratio in (1, 4, 100)}
    assert kept[100] < kept[4] < kept[1] == set(rows)
    assert np.bincount(labels[long_tailed(labels, rows, 4)]).tolist() == [200, 100, 50]
    order = np.random.default_rng(0).permutation(600)
    assert set(rows[order][long_tailed(labels[order], rows[order], 4)]) == kept[4]
    assert np.bincount(LABELS[long_tailed(LABELS, ROWS, 4)]).tolist() == [300, 90, 10], "a class that has fewer keeps them"


def test_the_tail_is_of_train_and_the_validation_rows_cut_from_it(tmp_path):
    whole, data = rf.load("digits"), rf.load("digits", imbalance=10)
    assert torch.equal(data.test.rows, whole.test.rows)
    both, every = (torch.cat([each.train.labels, each.val.labels]).bincount().tolist() for each in (data, whole))
    assert both == [min(wanted, there) for wanted, there in zip(counts(max(every), 10, 10), every, strict=True)]
    assert any(f"imbalance=10: {sum(both)} of 1438 training images are kept" in note for note in data.notes)
    some = rf.load("digits", imbalance=10, rows=300, noise="symmetric:0.2")
    assert len(some.train) + len(some.val) == 300
    for name, start in (("train", 0), ("val", 100), ("test", 200)):
        parquet(tmp_path / f"{name}.parquet", [0, 1] * 20, start=start)
    stored = load(str(tmp_path), SourceOptions(imbalance=4))
    assert stored.train.labels.bincount().tolist() == [20, 5]
    assert len(stored.val) == len(stored.test) == 40


@pytest.mark.parametrize(("name", "value"), [("imbalance", 0.5), ("labelled", 0)])
def test_values_out_of_range_are_one_line(name, value):
    with pytest.raises(InputError, match=f"^{name} is {value}: it must be .*at least 1"):
        rf.load("digits", **{name: value})
