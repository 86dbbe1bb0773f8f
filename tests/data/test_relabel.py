"""`--relabel scores.parquet:share`."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import refluence as rf
from refluence.cli import main
from refluence.data import SourceOptions, load
from refluence.errors import InputError
from refluence.files import read_json
from support.pictures import class_folders, parquet


@pytest.fixture
def source(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1, 2] * 20)
    parquet(tmp_path / "test.parquet", [0, 1, 2], start=100)
    return str(tmp_path)


def table(path, classes=None, **columns):
    facts = {} if classes is None else {b"refluence": json.dumps({"classes": classes})}
    pq.write_table(pa.table(columns).replace_schema_metadata(facts), path)
    return str(path)


def of_digits(path, data, suggested=None):
    """A table over the training rows of digits; the next class is suggested for every row of an even number."""
    rows, labels = data.train.rows.numpy(), data.train.labels.numpy()
    other = np.where(rows % 2 == 0, (labels + 1) % 10, labels) if suggested is None else suggested
    score = (rows * 37 % 1000).astype(float)
    order = np.argsort(-rows)  # any order
    return table(path, index=rows[order], score=score[order], label=labels[order], suggested=other[order])


def test_the_share_with_the_highest_scores_gets_the_class_that_is_suggested(tmp_path):
    plain = rf.load("digits")
    file = of_digits(tmp_path / "s.parquet", plain)
    data = rf.load("digits", relabel=f"{file}:0.25")
    by_row = dict(zip(plain.train.rows.tolist(), plain.train.labels.tolist(), strict=True))
    worst = sorted(by_row, key=lambda row: (-(row * 37 % 1000), row))[: round(0.25 * len(by_row))]
    expected = {row: (c + 1) % 10 if row in set(worst) and row % 2 == 0 else c for row, c in by_row.items()}
    assert data.train.labels.tolist() == [expected[row] for row in data.train.rows.tolist()]
    for name in ("train", "val", "test"):
        assert torch.equal(getattr(data, name).rows, getattr(plain, name).rows)
    assert torch.equal(data.val.labels, plain.val.labels)
    assert data.train.stored is None, "no label is known to be the truth"
    changed = sum(row % 2 == 0 for row in worst)
    assert any(f"gave {changed} of {len(by_row)} training images another label" in note for note in data.notes)
    assert torch.equal(rf.load("digits", relabel=f"{file}:0").train.labels, plain.train.labels)


def test_the_stored_labels_stay_the_truth_of_noisy_ones(tmp_path):
    noisy = rf.load("digits", noise="symmetric:0.4")
    file = of_digits(tmp_path / "s.parquet", noisy, noisy.train.stored.numpy())
    data = rf.load("digits", noise="symmetric:0.4", relabel=f"{file}:0.99999")
    assert torch.equal(data.train.stored, noisy.train.stored)
    assert torch.equal(data.train.labels, noisy.train.stored)


def test_drop_comes_first_and_the_share_is_of_what_is_left(tmp_path):
    plain = rf.load("digits")
    file = of_digits(tmp_path / "s.parquet", plain)
    rest = rf.load("digits", drop=f"{file}:0.5")
    both = rf.load("digits", drop=f"{file}:0.5", relabel=f"{file}:0.5")
    assert torch.equal(both.train.rows, rest.train.rows)
    worst = sorted(rest.train.rows.tolist(), key=lambda row: (-(row * 37 % 1000), row))[: round(0.5 * len(rest.train))]
    other = (both.train.labels != rest.train.labels).nonzero().flatten()
    assert set(both.train.rows[other].tolist()) == {row for row in worst if row % 2 == 0}


def test_classes_are_matched_by_name(source, tmp_path):
    rows = load(source).train.rows.numpy()
    columns = {"index": rows, "score": rows * 1.0, "label": 2 - rows % 3, "suggested": 2 - rows // 3 % 3}
    file = table(tmp_path / "s.parquet", ["2", "1", "0"], **columns)
    data = load(source, SourceOptions(relabel=f"{file}:0.9999"))
    assert data.train.labels.tolist() == (rows // 3 % 3).tolist()


ROWS = np.arange(60)
GOOD = {"index": ROWS, "score": ROWS * 1.0, "label": ROWS % 3, "suggested": ROWS * 0}


@pytest.mark.parametrize(
    ("changes", "share", "message"),
    [
        ({}, "1", r"share '1' must be a number from 0 to below 1"),
        ({}, "-0.1", r"share '-0.1' must be"),
        ({}, "nan", r"share 'nan' must be"),
        ({"suggested": None}, "0.1", r"has no column suggested; `refluence score` against validation data writes it"),
        ({"label": None}, "0.1", r"has no column label"),
        ({"index": ROWS + 1}, "0.1", r"index runs from 1 to 60.*were the scores made from this source\?"),
        ({name: each[:7] for name, each in GOOD.items()}, "0.1", r"of 54 training images have no score there"),
        ({"label": (ROWS + 1) % 3}, "0.1", r"row 0 of .* is '1' there and '0' here: the scores are of another source or"),
        ({"suggested": ROWS}, "0.1", r"suggested of row 3 is 3, but there are classes 0 … 2"),
        ({"suggested": ROWS * 0.5}, "0.1", r"suggested must hold whole numbers, none missing"),
        ({"classes": ["0", "1", "cat"]}, "0.1", r"'cat' is a class there and none of the source \(0, 1, 2\)"),
    ],
)
def test_tables_that_cannot_be_used_are_one_line_at_both_doors(source, tmp_path, capsys, changes, share, message):
    columns = {name: each for name, each in {**GOOD, **changes}.items() if each is not None}
    pair = f"{table(tmp_path / 's.parquet', columns.pop('classes', None), **columns)}:{share}"
    with pytest.raises(InputError, match=rf"^relabel='.*s.parquet:{share}': .*{message}"):
        rf.load(source, relabel=pair)
    assert main(["distill", "--data", source, "--relabel", pair, "--out", str(tmp_path / "run"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert f"--relabel {pair}: " in said
    assert said.count("\n") == 1


def test_images_that_are_skipped_need_no_score(tmp_path):
    """What cannot be decoded was scored by nobody, and is still there when the table is read."""
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    (tmp_path / "set" / "a" / "000.png").write_bytes(b"no picture")
    skip = SourceOptions(skip_corrupt=True)
    train = load(str(tmp_path / "set"), skip).train
    columns = {"index": train.rows.numpy(), "score": train.rows.numpy() * 1.0, "label": train.labels.numpy()}
    file = table(tmp_path / "s.parquet", ["a", "b"], **columns, suggested=1 - train.labels.numpy())
    again = load(str(tmp_path / "set"), SourceOptions(skip_corrupt=True, relabel=f"{file}:0.2")).train
    assert torch.equal(again.rows, train.rows)
    assert (again.labels != train.labels).sum() == round(0.2 * len(train))


def test_soft_labels_are_refused():
    plain = rf.load("digits")
    small = rf.distill(plain, "dm", ipc=1, iterations=1, width=4).set
    soft = type(small)(**{**vars(small), "soft": torch.full((10, 10), 0.1)})
    with pytest.raises(InputError, match="relabel: the set has soft labels"):
        rf.load(soft, test=plain, relabel="s.parquet:0.1")


def test_a_run_records_it_where_it_is_set_repeats_and_refuses_another(capsys, tmp_path):
    file, out = of_digits(tmp_path / "s.parquet", rf.load("digits")), tmp_path / "run"
    words = ["distill", "--data", "digits", "--method", "random", "--ipc", "2", "--width", "4", "--nets", "1", "--epochs", "1"]
    words += ["--threads", "1", "--quiet", "--out", str(out)]
    assert main([*words, "--relabel", f"{file}:0.4"]) == 0
    assert read_json(out / "config.json")["resolved"]["data"]["options"]["relabel"] == f"{file}:0.4"
    assert main(["repeat", str(out)]) == 0
    assert len(rf.load(str(out)).train) == 20, "a set as a source needs no table again"
    capsys.readouterr()
    for other in (["--relabel", f"{file}:0.2"], []):
        assert main([*words, *other, "--resume"]) == 2
        assert "relabel" in capsys.readouterr().err
    plain = rf.select("digits", "random", ipc=1, nets=1, epochs=1, width=4, out=tmp_path / "plain")
    assert "relabel" not in read_json(plain.folder / "config.json")["resolved"]["data"]["options"]


def test_what_score_writes_relabels(tmp_path):
    noisy, file = rf.load("digits", noise="symmetric:0.4"), tmp_path / "s.parquet"
    asked = {"folds": 2, "epochs": 1, "width": 4, "terms": "explicit"}
    scored = rf.score(noisy, out=file, **asked)
    data = rf.load("digits", noise="symmetric:0.4", relabel=f"{file}:0.3")
    worst = scored.most_harmful(round(0.3 * len(scored)))
    expected = dict(zip(scored.index.tolist(), scored.label.tolist(), strict=True))
    expected |= dict(zip(worst.index.tolist(), worst.suggested.tolist(), strict=True))
    assert data.train.labels.tolist() == [expected[row] for row in data.train.rows.tolist()]
    with pytest.raises(InputError, match=r"the scores are of another source or of other labels"):
        rf.load("digits", relabel=f"{file}:0.3")
    assert rf.score(data, **asked).facts["relabel"] == f"{file}:0.3"
