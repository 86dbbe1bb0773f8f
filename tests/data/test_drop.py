"""`--drop scores.parquet:share`."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from refluence.data import SourceOptions, load
from refluence.data.scores import ScoreTable
from refluence.errors import InputError
from support.pictures import class_folders, parquet


@pytest.fixture
def source(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 30)
    parquet(tmp_path / "test.parquet", [0, 1], start=100)
    return str(tmp_path)


def scores(tmp_path, index, score):
    pq.write_table(pa.table({"index": index, "score": score}), tmp_path / "scores.parquet")
    return f"{tmp_path}/scores.parquet"


def test_the_highest_scores_leave_train(source, tmp_path):
    plain = load(source)
    index = list(range(59, -1, -1))  # any order
    file = scores(tmp_path, index, [float((i * 37) % 60) for i in index])
    data = load(source, SourceOptions(drop=f"{file}:0.25"))
    gone = set(plain.train.rows.tolist()) - set(data.train.rows.tolist())
    worst = sorted(plain.train.rows.tolist(), key=lambda i: -((i * 37) % 60))
    assert gone == set(worst[: round(0.25 * len(plain.train))])
    assert data.val.rows.tolist() == plain.val.rows.tolist()  # the comparison stays paired
    assert data.test.rows.tolist() == plain.test.rows.tolist()
    assert any(f"left out {len(gone)} of {len(plain.train)} training images" in note for note in data.notes)


def test_rows_without_a_score_stay(source, tmp_path):
    rows = load(source).train.rows.tolist()
    data = load(source, SourceOptions(drop=scores(tmp_path, rows[:10], [float(i) for i in range(10)]) + ":0.5"))
    assert set(rows) - set(data.train.rows.tolist()) == set(rows[5:10])
    assert any("have no score and stay" in note for note in data.notes)


def test_a_class_that_drop_makes_small_is_refused(source, tmp_path):
    file = scores(tmp_path, list(range(60)), [float(i % 2) for i in range(60)])  # all of class 1 is harmful
    with pytest.raises(InputError, match=r"'1' \(\d+\).*small_classes='cap'"):
        load(source, SourceOptions(drop=f"{file}:0.49"), per_class=5)


@pytest.mark.parametrize(
    ("index", "score", "share", "message"),
    [
        ([0, 1], [0.0, 1.0], "1.5", r"share '1.5' must be a number from 0 to below 1"),
        ([0, 1], [0.0, 1.0], "many", r"share 'many'"),
        ([0, 60], [0.0, 1.0], "0.5", r"index runs from 0 to 60.*rows 0 … 59"),
        ([0, 1], [0.0, float("nan")], "0.5", r"1 scores are not numbers \(first: index 1\)"),
        ([0, 0], [0.0, 1.0], "0.5", r"more than one score"),
        ([0, None], [0.0, 1.0], "0.5", r"none missing"),
        ([0.5, 1], [0.0, 1.0], "0.5", r"whole numbers"),
        ([[0], [1]], [0.0, 1.0], "0.5", r"whole numbers"),
    ],
)
def test_scores_that_cannot_be_used(source, tmp_path, index, score, share, message):
    with pytest.raises(InputError, match=message):
        load(source, SourceOptions(drop=f"{scores(tmp_path, index, score)}:{share}"))


def test_images_that_were_added_since_the_scores(tmp_path):
    """The rows behind a new image are other images than those that were scored."""
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    plain = load(str(tmp_path / "set"))
    rows = plain.train.rows.tolist()
    told = {"index": rows, "score": [float(row) for row in rows], "path": list(plain.train.paths)}
    pq.write_table(pa.table(told), tmp_path / "scores.parquet")
    drop = SourceOptions(drop=f"{tmp_path}/scores.parquet:0.2")
    assert len(load(str(tmp_path / "set"), drop).train) < len(rows)
    (tmp_path / "set" / "a" / "000.png").rename(tmp_path / "set" / "a" / "zzz.png")
    with pytest.raises(InputError, match=r"row 0 is 'a/000.png' there and 'a/001.png' in .*score the source again"):
        load(str(tmp_path / "set"), drop)


def test_files_that_cannot_be_used(source, tmp_path):
    pq.write_table(pa.table({"index": [0]}), tmp_path / "scores.parquet")
    with pytest.raises(InputError, match=r"no such column; it has index"):
        load(source, SourceOptions(drop=f"{tmp_path}/scores.parquet:0.5"))
    with pytest.raises(InputError, match=r"there is no file"):
        load(source, SourceOptions(drop=f"{tmp_path}/nowhere.parquet:0.5"))
    with pytest.raises(InputError, match=r"drop='scores.parquet': expected scores.parquet:share"):
        load(source, SourceOptions(drop="scores.parquet"))


def test_the_folder_of_a_saved_table_is_read_too(source, tmp_path):
    rows = load(source).train.rows.tolist()
    file = scores(tmp_path, rows[:10], [float(i) for i in range(10)])
    by_file, by_folder = (load(source, SourceOptions(drop=f"{name}:0.5")) for name in (file, tmp_path))
    assert by_folder.train.rows.tolist() == by_file.train.rows.tolist()


def test_scores_of_other_arrays_are_refused(tmp_path):
    labels = torch.arange(60) % 2
    data = load((torch.arange(60.0)[:, None, None].expand(60, 4, 4) / 60, labels))
    nothing = torch.zeros(len(data.train))
    ScoreTable.of(data, nothing, nothing, nothing, facts={"source": data.source}).write(tmp_path / "scores.parquet")
    options = SourceOptions(drop=f"{tmp_path}/scores.parquet:0.1")
    again = load((torch.arange(60.0)[:, None, None].expand(60, 4, 4) / 60, labels), options)
    assert len(again.train) < len(data.train)
    with pytest.raises(InputError, match=r"the scores are of arrays:\w+, and these data are arrays:\w+: score these"):
        load((torch.ones(60, 4, 4), labels), options)
