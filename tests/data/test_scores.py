"""A table of scores: its ends, its file, and how it shows itself."""

import csv
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from refluence.data.dataset import Dataset, Split
from refluence.data.scores import ScoreTable
from refluence.errors import InputError


@pytest.fixture
def dataset():
    images, labels = torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 0, 1])
    split = Split(images, labels, torch.tensor([3, 4, 7, 9, 11, 12]), tuple(f"{i}.png" for i in range(6)))
    return Dataset("made", ("cat", "<dog>"), split, split, split, (0.0,), (1.0,))


@pytest.fixture
def table(dataset):
    score = torch.tensor([0.5, -1.0, 2.0, 2.0, 0.0, -3.0])
    facts = {"classes": ["cat", "<dog>"], "seed": 3}
    return ScoreTable.of(
        dataset, score, torch.ones(6), score.abs(), fold=torch.arange(6) % 2, suggested=score.long() % 2, facts=facts
    )


def test_the_ends_are_sorted_and_equal_scores_go_by_row(table):
    assert table.most_harmful(3).index.tolist() == [7, 9, 3]
    assert table.most_helpful(2).index.tolist() == [12, 4]
    assert table.most_helpful(2).paths == ("5.png", "1.png")
    assert len(table.most_harmful(100)) == 6


def test_a_table_reads_back_from_its_file_and_its_folder(table, tmp_path):
    table.write(tmp_path / "own.parquet")
    table.save(tmp_path, {"more": 1})
    for path, facts in ((tmp_path / "own.parquet", table.facts), (tmp_path, {**table.facts, "more": 1})):
        again = ScoreTable.load(path)
        for name, column in table.arrays().items():
            assert (again.arrays()[name] == column).all(), name
        assert (again.classes, again.facts) == (("cat", "<dog>"), facts)


def test_a_table_for_people_names_classes_and_begins_with_the_most_harmful(table, dataset, tmp_path):
    table.write(tmp_path / "own.parquet")
    with (tmp_path / "own.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["row"]) for line in lines] == table.most_harmful(6).index.tolist() == [7, 9, 3, 11, 4, 12]
    harmful = {"row": "7", "path": "2.png", "label": "cat", "suggestion": "cat", "score": "2.0", "loss": "2.0", "weight": "1.0"}
    assert lines[0] == harmful
    assert lines[4]["suggestion"] == "<dog>"
    nothing = torch.full((6,), torch.nan)
    bare = replace(ScoreTable.of(dataset, torch.arange(6.0), torch.ones(6), nothing), paths=None, classes=())
    bare.save(tmp_path)
    assert (tmp_path / "scores.csv").read_text().splitlines()[1] == "12,,1,,5.0,,1.0"


def test_a_file_of_the_same_name_that_holds_something_else_stays(table, tmp_path):
    (tmp_path / "votes.csv").write_text("file,label\n")
    with pytest.raises(InputError, match=r"^out .*votes.parquet: votes.csv is written beside it, and a file of this name"):
        table.write(tmp_path / "votes.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["votes.csv"]
    table.write(tmp_path / "again.parquet")
    table.write(tmp_path / "again.parquet")


def test_unvisited_instances_are_left_out(dataset):
    visits, nothing = torch.tensor([0, 2, 0, 1, 0, 0]), torch.full((6,), torch.nan)
    table = ScoreTable.of(dataset, torch.arange(6.0), torch.ones(6), nothing, visits=visits)
    assert table.index.tolist() == [4, 9]
    assert set(table.arrays()) == {"index", "label", "score", "weight", "loss", "visits", "path"}


def test_it_shows_both_ends_and_names_classes(table):
    assert repr(table) == "ScoreTable(6 instances, scores -3 to 2)"
    page = table._repr_html_()
    assert "&lt;dog&gt;" in page
    assert page.count("<tr>") == 1 + 6
    many = replace(table._at(np.arange(24) % 6), paths=None)
    assert many._repr_html_().count("<tr>") == 1 + 5 + 1 + 5


def test_what_is_no_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"scores.parquet cannot be read as scores"):
        ScoreTable.load(tmp_path)
    (tmp_path / "x.parquet").write_text("x")
    with pytest.raises(InputError, match=r"x.parquet cannot be read as scores"):
        ScoreTable.load(tmp_path / "x.parquet")
    pq.write_table(pa.table({"index": np.arange(2)}), tmp_path / "y.parquet")
    with pytest.raises(InputError, match=r"y.parquet cannot be read as scores"):
        ScoreTable.load(tmp_path / "y.parquet")
    with pytest.raises(InputError, match=r"nope does not exist: give a file of scores, or a folder with scores.parquet"):
        ScoreTable.load(tmp_path / "nope")


def weighted(dataset):
    score = torch.arange(6.0)
    return ScoreTable.of(dataset, score, 1 + score, score, facts={"source": dataset.source})


def test_weights_are_in_the_order_of_the_rows_that_train(dataset):
    table = weighted(dataset)._at(np.array([4, 0, 5, 2, 1, 3]))
    w = table.weights(dataset)
    assert (w.dtype, w.tolist()) == (torch.float32, [1, 2, 3, 4, 5, 6])
    fewer = replace(dataset, train=dataset.train.take(torch.tensor([5, 0, 3])))
    assert table.weights(fewer).tolist() == [6, 1, 4]


def test_a_source_may_be_spelled_in_two_ways(dataset):
    assert len(weighted(replace(dataset, source="./made")).weights(dataset)) == 6


def test_weights_of_another_source_are_refused(dataset):
    with pytest.raises(InputError, match=r"^the scores are of made, not of other: score the data"):
        weighted(dataset).weights(replace(dataset, source="other"))


def test_weights_without_some_rows_are_refused(dataset):
    table = weighted(dataset)
    with pytest.raises(InputError, match=r"^the scores lack 4 of the 6 training rows of made \(first: row 3\)"):
        table.most_harmful(2).weights(dataset)
    with pytest.raises(InputError, match=r"^the scores lack 6 of the 6"):
        table.most_harmful(0).weights(dataset)


def test_weights_of_rows_given_twice_are_refused(dataset):
    with pytest.raises(InputError, match=r"^the scores have 1 rows of made more than once"):
        weighted(dataset)._at(np.array([0, 1, 2, 3, 4, 5, 2])).weights(dataset)


@pytest.mark.parametrize("column", ["labels", "paths"])
def test_weights_of_other_labels_or_files_are_refused(dataset, column):
    table, train = weighted(dataset), dataset.train
    other = {"labels": torch.tensor([0, 1, 1, 1, 0, 1]), "paths": (*train.paths[:2], "new.png", *train.paths[3:])}[column]
    with pytest.raises(InputError, match=r"^row 7 has another label or file in the scores than in made"):
        table.weights(replace(dataset, train=replace(train, **{column: other})))


def test_a_table_is_saved_as_a_file_or_into_a_folder(table, tmp_path):
    table.save(tmp_path / "t.parquet")
    table.save(tmp_path / "folder")
    assert (tmp_path / "t.parquet").is_file()
    assert (tmp_path / "folder/scores.parquet").is_file()
    assert torch.equal(ScoreTable.load(tmp_path / "t.parquet").score, table.score)


@pytest.mark.parametrize("n", [-3, 0.05, "3", True])
def test_a_number_of_rows_is_a_whole_number(table, n):
    for ends in (table.most_harmful, table.most_helpful):
        with pytest.raises(InputError, match=rf"^n is {n!r}: it must be a whole number of rows, at least 0"):
            ends(n)
    assert len(table.most_harmful(np.int64(2))) == 2
