"""Tables of scores of other data than are read here: of another source, other labels, noise or shift, or other classes."""

from dataclasses import replace

import pytest
import torch

import refluence as rf
from refluence.cli import main
from refluence.data import SourceOptions
from refluence.data.scored_as import refuse_other_reading
from refluence.errors import InputError
from support.pictures import class_folders


def saved(path, data, **facts):
    """A table over the training rows of `data` that suggests their own labels, with these facts."""
    score, ones = torch.arange(len(data.train)).double(), torch.ones(len(data.train))
    table = rf.ScoreTable.of(data, score, ones, ones, suggested=data.train.labels, facts=facts)
    table.save(path)
    return str(path)


@pytest.fixture(scope="module")
def digits():
    return rf.load("digits", rows=300)


@pytest.mark.parametrize("name", ["drop", "relabel"])
def test_a_table_of_another_source_is_refused_at_both_doors(digits, tmp_path, capsys, name):
    pair = saved(tmp_path / "s.parquet", digits, source=str(tmp_path / "photos")) + ":.2"
    with pytest.raises(InputError, match=rf"^{name}='.*: the scores are of .*photos, and these data are digits: score these$"):
        rf.load("digits", rows=300, **{name: pair})
    words = ["distill", "--data", "digits", "--rows", "300", f"--{name}", pair, "--out", str(tmp_path / "run"), "--quiet"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"--{name} {pair}: the scores are of" in said
    assert said.count("\n") == 1


def test_a_folder_may_be_spelled_in_two_ways_and_a_table_may_not_say_of_what_it_is(digits, tmp_path, monkeypatch):
    class_folders(tmp_path / "set", {"a": 10, "b": 10})
    monkeypatch.chdir(tmp_path)
    data = rf.load("set")
    for number, facts in enumerate(({"source": str(tmp_path / "set")}, {})):
        file = saved(tmp_path / f"{number}.parquet", data, **facts)
        assert len(rf.load("./set", drop=f"{file}:.2").train) < len(data.train)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"noise": "symmetric:.4"}, r"of data with noise='symmetric:.4', and here they are read without: score these"),
        ({"shift": "mirror:.5"}, r"of data with shift='mirror:.5', and here they are read without"),
        ({"labels": "human.parquet:votes"}, r"of data with labels='human.parquet:votes', and here they are read without"),
    ],
)
@pytest.mark.parametrize("name", ["drop", "relabel", "scores"])
def test_a_table_of_data_that_were_read_otherwise_is_refused(digits, tmp_path, facts, message, name):
    file = saved(tmp_path / "s.parquet", digits, **facts)

    def use():
        if name == "scores":
            return rf.distill(digits, "random+pruned:by=score,keep=.5", scores=file, ipc=1)
        return rf.load("digits", rows=300, **{name: f"{file}:.2"})

    with pytest.raises(InputError, match=rf"{name}='.*: the scores are {message}"):
        use()


def test_what_facts_say_of_the_reading():
    """Absent facts: noise and shift of a table of `score` were not asked for; all else is unknown."""

    def refused(facts, **options):
        try:
            refuse_other_reading(facts, SourceOptions(**options), "FILE")
        except InputError as error:
            return str(error)
        return ""

    score = {"kind": "validation"}
    assert "without noise, and here they are read with noise='symmetric:0.4'" in refused(score, noise="symmetric:0.4")
    assert "without shift, and here" in refused(score, shift="turn:0.5")
    assert "without labels, and here" in refused({**score, "labels": None}, labels="a.parquet:x")
    assert refused({}, noise="symmetric:0.4", shift="turn:0.5", labels=None) == ""
    assert refused(score, labels="a.parquet:x") == ""
    assert refused({**score, "noise": "symmetric:.4", "shift": "turn:.50"}, noise="symmetric:0.4", shift="turn:0.5") == ""
    assert refused({"labels": "there/a.parquet:x"}, labels="here/a.parquet:x") == ""
    assert "labels='a.parquet:x'" in refused({"labels": "a.parquet:x"}, labels="a.parquet:y")
    assert "noise='symmetric:.2'" in refused({"noise": "symmetric:.2"}, noise="symmetric:0.4")
    assert "noise='whatever'" in refused({"noise": "whatever"}, noise="symmetric:0.4")


def test_labels_of_a_table_are_matched_by_name():
    data = rf.load("digits", rows=300)
    ones = torch.ones(len(data.train))
    table = rf.ScoreTable.of(data, ones, ones, ones)
    turned = replace(table, classes=table.classes[::-1], label=9 - table.label)
    assert torch.equal(turned.positions(data), table.positions(data))
    with pytest.raises(InputError, match="has another label or file in the scores than in digits"):
        replace(table, classes=("other", *table.classes[1:])).weights(data)
    with pytest.raises(InputError, match=r"label of row \d+ is 10, but there are classes 0 … 9"):
        replace(table, label=table.label.clamp(min=1).where(table.label > 0, torch.tensor(10))).weights(data)
    with pytest.raises(InputError, match="label must hold whole numbers"):
        replace(table, label=table.label * 1.0).weights(data)
