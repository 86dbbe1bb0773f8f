"""Files appear whole or not at all."""

import errno
import json
import math
import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from refluence.errors import InputError, RunError
from refluence.files import check_writable, read_json, replacing, write_json, write_tensors, write_text


def test_a_file_appears_in_one_step_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "a" / "b" / "notes.txt"
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent, "a rename must not cross file systems"
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["notes.txt"]


def fail_half_way(path, error):
    path.write_text("ne")
    raise error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "notes.txt"
    write_text(path, "old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        fail_half_way(temporary, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_json_goes_there_and_back_without_nan(tmp_path):
    path = tmp_path / "x.json"
    value = {"a": [1, 2.5, None, "é"], "b": {}}
    write_json(path, value)
    assert read_json(path) == value
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_json(path, {"a": number})
    assert read_json(path) == value
    assert json.loads(path.read_text()) == value


def test_json_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(InputError, match=r"x\.json does not exist"):
        read_json(path)
    for content in (b'{"a": ', b"\xff\xfe\x00", b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.json cannot be read as JSON"):
            read_json(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def test_tensors_are_stored_contiguous_and_detached_with_their_header(tmp_path):
    path = tmp_path / "x.safetensors"
    tensor = torch.arange(6.0, requires_grad=True).view(2, 3).T
    write_tensors(path, {"t": tensor, "n": torch.tensor(3)}, {"made": "here"})
    found = load_file(path)
    assert torch.equal(found["t"], tensor)
    assert found["n"] == 3
    with pytest.raises(InputError, match="cannot write"):
        write_tensors(path / "below", {"t": tensor})


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_tensors_may_be_read_by_whom_texts_may(tmp_path):
    write_text(tmp_path / "text", "text")
    write_tensors(tmp_path / "tensors", {"a": torch.zeros(1)})
    assert (tmp_path / "tensors").stat().st_mode == (tmp_path / "text").stat().st_mode


def test_places_that_cannot_be_written_to_are_found_out_before(tmp_path):
    with pytest.raises(InputError, match="its name is no UTF-8"):  # which safetensors would say after the work
        check_writable(tmp_path / "ni\udcf1o" / "file")
    check_writable(tmp_path / "new" / "folder" / "file")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file is a file"):
        check_writable(tmp_path / "file" / "x")
    with pytest.raises(InputError, match="cannot write"):
        write_text(tmp_path / "file" / "x" / "y", "z")
    with pytest.raises(InputError, match="File name too long; choose a shorter one"):
        check_writable(tmp_path / ("x" * 250))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: no space")])
def test_a_full_disk_stops_the_run_and_says_how_to_go_on(tmp_path, error):
    path = tmp_path / "x.safetensors"
    with (
        pytest.raises(RunError, match=r"cannot write .*space.*; make room, and the same call continues"),
        replacing(path) as temporary,
    ):
        fail_half_way(temporary, error)
    assert os.listdir(tmp_path) == []


def test_a_file_name_that_is_no_utf8_can_stand_in_a_text(tmp_path):
    write_text(tmp_path / "x.html", "caf\udce9")
    assert (tmp_path / "x.html").read_bytes() == b"caf\\udce9"
