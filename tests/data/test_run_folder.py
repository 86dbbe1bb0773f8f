"""A finished run as a source: it trains on its set, and is validated and tested on the data that the run had."""

import dataclasses

import numpy as np
import pytest
import torch

import refluence as rf
from refluence.data import DistilledSet, SourceOptions, decoded, load, load_distilled, save_distilled
from refluence.errors import InputError
from refluence.files import read_json, write_json
from support.pictures import class_folders


def run(folder, source="digits", images=None, factor=1, soft=False, labels=None, **options):
    """The folder of a run on a source, two images a class."""
    data = load(source, SourceOptions(**options))
    classes = len(data.classes)
    labels = torch.arange(2 * classes) % classes if labels is None else labels
    images = torch.randn(len(labels), *data.shape, generator=torch.Generator().manual_seed(0)) if images is None else images
    probabilities = torch.nn.functional.one_hot(labels, classes).float() * 0.5 + 0.5 / classes if soft else None
    small = DistilledSet(images, labels, data.classes, data.mean, data.std, factor=factor, soft=probabilities)
    save_distilled(folder / "distilled", small, {"source": source})
    stored = {"source": source, "options": {**dataclasses.asdict(SourceOptions(**options)), "unknown": 1}}
    write_json(folder / "config.json", {"version": 1, "command": "distill", "arguments": {}, "resolved": {"data": stored}})
    return data, small


def refused(folder, **options):
    with pytest.raises(InputError) as caught:
        load(str(folder), SourceOptions(**options))
    return str(caught.value)


def test_the_set_is_trained_on_and_the_data_held_out_is_that_of_the_run(tmp_path):
    real, small = run(tmp_path)
    data = load(str(tmp_path))
    assert (data.classes, data.mean, data.std) == (real.classes, real.mean, real.std)
    assert torch.allclose(data.pixels(data.train), small.images, atol=1e-5)  # in floats: beyond black and white too
    assert torch.equal(data.train.labels, small.labels)
    for split, other in ((data.val, real.val), (data.test, real.test)):
        assert torch.equal(split.images, other.images)
        assert torch.equal(split.labels, other.labels)
        assert torch.equal(data.pixels(split), real.pixels(other))
    assert data.source == str(tmp_path)
    assert "train from train (20), validation from val (" in data.notes[0]
    assert any("validation (cut from train) and test are those of digits" in note for note in data.notes)


def test_several_images_in_one_are_decoded_and_soft_labels_are_kept(tmp_path):
    run(tmp_path, factor=2, soft=True)
    data, whole = load(str(tmp_path)), decoded(load_distilled(tmp_path))
    assert len(data.train) == len(whole) == 80
    assert torch.allclose(data.pixels(data.train), whole.images, atol=1e-5)
    assert torch.equal(data.train.soft, whole.soft)
    assert data.val.soft is None
    assert torch.equal(data.train.first(1).soft.argmax(1), torch.arange(10))
    assert load("digits").train.soft is None
    uneven = torch.tensor([0, 0, *range(1, 10)])
    run(tmp_path / "b", labels=uneven, soft=True)
    data = load(str(tmp_path / "b"), SourceOptions(small_classes="cap"), per_class=2)
    assert len(data.train) == 11
    with pytest.raises(InputError, match="too few training images"):
        load(str(tmp_path / "b"), per_class=2)


def test_options_are_those_of_the_run_unless_another_validation_set_is_asked_for(tmp_path):
    for i, name in enumerate(("train", "val", "test")):
        class_folders(tmp_path / "set" / name, {"cat": 4, "dog": 4, "ant": 1}, start=100 * i, size=(12, 12))
    class_folders(tmp_path / "other", {"dog": 3, "cat": 2}, start=900)
    real, _ = run(tmp_path / "run", str(tmp_path / "set"), image_size=8, validation=str(tmp_path / "other"))
    data = load(str(tmp_path / "run"))
    assert torch.equal(data.val.images, real.val.images)
    assert len(data.val) == 5
    assert data.shape == (3, 8, 8)
    data = load(str(tmp_path / "run"), SourceOptions(validation=str(tmp_path / "set"), image_size=8))
    assert (len(data.val), data.validation) == (9, str(tmp_path / "set"))
    assert torch.equal(data.test.images, real.test.images)
    assert "its set has no columns" in refused(tmp_path / "run", label_column="x")


def test_a_class_that_the_run_left_out_is_left_out(tmp_path):
    for i, name in enumerate(("train", "test")):
        class_folders(tmp_path / "set" / name, {"ant": 1, "cat": 8, "dog": 8}, start=100 * i)
    real = load(str(tmp_path / "set"), SourceOptions(small_classes="drop"), per_class=3)
    small = DistilledSet(torch.zeros(2, 3, 8, 8), torch.arange(2), real.classes, real.mean, real.std)
    save_distilled(tmp_path / "run" / "distilled", small, {})
    stored = {"source": str(tmp_path / "set"), "options": {"small_classes": "drop", "drop": "gone.parquet:0.1"}}
    write_json(tmp_path / "run" / "config.json", {"version": 1, "command": "distill", "resolved": {"data": stored}})
    data = load(str(tmp_path / "run"))
    assert data.classes == ("cat", "dog")
    assert torch.equal(data.test.images, real.test.images)


def test_a_run_on_a_run(tmp_path):
    real, _ = run(tmp_path / "a")
    run(tmp_path / "b", str(tmp_path / "a"))
    assert torch.equal(load(str(tmp_path / "b")).test.images, real.test.images)


def test_what_is_no_finished_run_on_data_that_is_there_is_one_line(tmp_path):
    run(tmp_path / "a")
    write_json(tmp_path / "c" / "config.json", {"command": "compare"})
    (tmp_path / "c" / "units").mkdir()
    assert f"holds a comparison: name one of its units, {tmp_path}/c/units/ARM/SEED" in refused(tmp_path / "c")
    write_json(tmp_path / "a" / "config.json", {"command": "distill", "resolved": {}})
    assert "does not say which data" in refused(tmp_path / "a")
    gone = {"resolved": {"data": {"source": str(tmp_path / "gone"), "options": {}}}}
    write_json(tmp_path / "a" / "config.json", gone)
    assert f"was made from {tmp_path}/gone, which is read again: data='{tmp_path}/gone' is not" in refused(tmp_path / "a")
    given = load((np.zeros((30, 8, 8), np.uint8), np.arange(30) % 10)).source
    write_json(tmp_path / "a" / "config.json", {"resolved": {"data": {"source": given, "options": {}}}})
    assert "was made from data that was given in Python (arrays:" in refused(tmp_path / "a")
    (tmp_path / "a" / "distilled" / "card.json").unlink()
    assert "is not finished" in refused(tmp_path / "a")


def test_a_set_is_a_source_beside_the_dataset_that_holds_images_out(tmp_path):
    data = rf.load("digits")
    made = rf.select(data, "random", ipc=2, threads=1)
    whole = rf.load(made)
    torch.testing.assert_close(whole.pixels(whole.train), made.set.images)
    torch.testing.assert_close(whole.pixels(whole.test), data.pixels(data.test))
    assert (len(whole.train), whole.classes, whole.mean) == (20, data.classes, data.mean)
    made.set.save(tmp_path)
    for same in (
        rf.load(made.set, test=data),
        rf.load(tmp_path, test=data),
        rf.load(rf.DistilledSet.load(tmp_path), test=data),
    ):
        assert (same.source, same.notes) == (whole.source, whole.notes)
    with pytest.raises(InputError, match="a distilled set alone has no validation and test images"):
        rf.load(tmp_path)
    with pytest.raises(InputError, match="other images or classes than arrays:"):
        rf.load(made.set, test=rf.load((torch.rand(30, 3, 8, 8), [0, 1] * 15)))
    with pytest.raises(InputError, match="holds a set without its run"):
        rf.open(tmp_path)
    assert len(rf.distill(made, "dm", ipc=1, iterations=1, width=4, threads=1).set) == 10


def test_a_selection_keeps_the_soft_labels_of_what_it_selects_from():
    data = rf.load("digits")
    soft = torch.rand(20, 10).softmax(1)
    small = rf.load(dataclasses.replace(rf.select(data, "random", ipc=2, threads=1).set, soft=soft), test=data)
    assert any("a selection keeps them too" in note for note in small.notes)
    chosen = rf.select(small, "random", ipc=1, threads=1).set
    assert chosen.soft.shape == (10, 10)
    assert all(any(torch.equal(row, each) for each in soft) for row in chosen.soft)


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ({"content": "0123456789ab"}, "data that was changed in Python after it was loaded (digits)"),
        ({"validation": "arrays:0123456789ab"}, "a validation set that was given in Python (arrays:0123456789ab)"),
    ],
)
def test_what_only_python_had_of_a_run_is_not_replaced_by_something_else(tmp_path, recorded, words):
    run(tmp_path)
    config = read_json(tmp_path / "config.json")
    config["resolved"]["data"] |= recorded
    write_json(tmp_path / "config.json", config)
    message = refused(tmp_path)
    assert words in message
    assert "test=data" in message
    real = load("digits")
    assert torch.equal(rf.load(str(tmp_path), test=real).test.images, real.test.images)
