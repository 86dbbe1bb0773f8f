"""The rows file: what a kill can leave at its end does no harm."""

import json
import threading

import pytest

from refluence.errors import InputError
from refluence.run import execute
from refluence.run.rows import append_rows, read_rows


def test_rows_come_back_in_order(tmp_path):
    path = tmp_path / "deep" / "rows.jsonl"
    assert read_rows(path) == []
    append_rows(path, [{"a": 1}, {"a": "ü"}])
    append_rows(path, [{"a": 3}])
    assert read_rows(path) == [{"a": 1}, {"a": "ü"}, {"a": 3}]


@pytest.mark.parametrize("left", ['{"a": 2', '{"a": 2}', '{"a": "\\u00'])
def test_half_a_row_is_passed_over_and_cut_off_by_the_next(tmp_path, left):
    path = tmp_path / "rows.jsonl"
    append_rows(path, [{"a": 1}])
    with path.open("a") as file:
        file.write(left)
    assert read_rows(path) == [{"a": 1}]
    append_rows(path, [{"a": 2}])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("line", ["{half", "3", ""])
def test_a_broken_row_in_the_middle_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n{{"a": 2}}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2 is no row"):
        read_rows(path)


def test_coordinators_that_share_a_file_lose_no_row(tmp_path):
    def append(name):
        for number in range(20):
            append_rows(tmp_path / "rows.jsonl", [{"name": name, "number": number}])

    threads = [threading.Thread(target=append, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = read_rows(tmp_path / "rows.jsonl")
    assert [[row["number"] for row in rows if row["name"] == name] for name in "ab"] == [list(range(20))] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_worker_writes_no_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "_made", [lambda: None])
    with pytest.raises(AssertionError, match="only the coordinator writes rows"):
        append_rows(tmp_path / "rows.jsonl", [{"a": 1}])
    assert not (tmp_path / "rows.jsonl").exists()
