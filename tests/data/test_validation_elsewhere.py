"""`--validation SRC`: all labelled rows of another source, classes matched by name, nothing cut."""

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from refluence.data import SourceOptions, load
from refluence.errors import InputError
from support.pictures import array, class_folders, parquet, write


def digit_folders(root, order, count=3):
    """Digits as pictures in class folders, whose order is not that of the numbers, as `order` renames them."""
    images, labels = load_digits(return_X_y=True)
    for digit, name in enumerate(order):
        for i, row in enumerate((labels == digit).nonzero()[0][:count]):
            pixels = (images[row].reshape(8, 8) * (255 / 16)).round().astype("uint8")
            write(root / name / f"{i}.png", Image.fromarray(pixels))
    return str(root)


def elsewhere(source, other, **options):
    return load(str(source), SourceOptions(validation=str(other), **options))


def refused(source, other, **options):
    with pytest.raises(InputError) as caught:
        elsewhere(source, other, **options)
    return str(caught.value)


def test_classes_are_matched_by_name_whatever_their_order(tmp_path):
    plain = load("digits")
    other = digit_folders(tmp_path / "other", "0123456789"[::-1])  # a picture of 0 lies in the folder 9
    data = elsewhere("digits", other)
    assert data.validation == other
    assert data.notes[0] == f"{plain.notes[0].removesuffix('; validation cut from train')}; validation from {other} (30)"
    first = load_digits().images[0].round()  # a 0
    at = (data.val.images[:, 0].float() * 16 / 255).round().sub(torch.from_numpy(first)).abs().sum((1, 2)).argmin()
    assert data.classes[data.val.labels[at]] == "9"
    rows = torch.cat([plain.train.rows, plain.val.rows]).sort().values
    assert torch.equal(data.train.rows, rows)  # nothing is cut
    assert torch.equal(data.test.rows, plain.test.rows)
    assert any("validation images are also in train" in note for note in data.notes)


def test_of_several_splits_its_train_split_is_read_and_ours_are_passed_over(tmp_path):
    for i, name in enumerate(("train", "val", "test")):
        class_folders(tmp_path / "ours" / name, {"cat": 4, "dog": 4}, start=100 * i)
        class_folders(tmp_path / "theirs" / name, {"dog": 2, "cat": 3}, start=500 + 100 * i)
    data = elsewhere(tmp_path / "ours", tmp_path / "theirs")
    assert (len(data.train), len(data.val), len(data.test)) == (8, 5, 8)
    assert "passed over: split val (8 images)" in data.notes[0]
    assert data.val.paths[0] == "cat/000.png"


def test_rows_without_label_or_of_other_classes_are_left_out_with_a_note(tmp_path):
    parquet(tmp_path / "ours" / "train.parquet", ["cat", "dog", "ant"] * 6)
    parquet(tmp_path / "theirs" / "train.parquet", ["dog", None, "fox", "cat", ""], start=50)
    data = elsewhere(tmp_path / "ours", tmp_path / "theirs")
    assert data.val.rows.tolist() == [0, 3]
    assert [data.classes[k] for k in data.val.labels] == ["dog", "cat"]
    said = "\n".join(data.notes)
    assert "2 of 5 images of" in said
    assert "1 of 5 images of" in said
    assert "no class of train (fox)" in said
    assert "no validation image of 1 classes: ant" in said


def test_numbers_without_names(tmp_path):
    import datasets

    named = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    parquet(tmp_path / "ours" / "train.parquet", [1, 0] * 6, features=named)
    parquet(tmp_path / "theirs" / "train.parquet", [1, 0, -1], start=50)
    data = elsewhere(tmp_path / "ours", tmp_path / "theirs")
    assert data.val.labels.tolist() == [1, 0]
    assert any("read as positions in train's classes (0 is 'cat')" in note for note in data.notes)
    parquet(tmp_path / "numbers" / "train.parquet", [1, 0] * 6, start=70)
    assert "no class of train: it has cat, dog, train has 0, 1" in refused(tmp_path / "numbers", tmp_path / "ours")


def test_what_does_not_fit_is_one_line(tmp_path):
    class_folders(tmp_path / "ours", {"cat": 5, "dog": 5})
    class_folders(tmp_path / "case", {"Cat": 2, "dog": 2}, start=50)
    class_folders(tmp_path / "large", {"cat": 2, "dog": 2}, start=60, size=(16, 16))
    parquet(tmp_path / "none" / "train.parquet", [None, -1], start=70)
    ours = tmp_path / "ours"
    assert "the class 'Cat' of validation=" in refused(ours, tmp_path / "case")
    assert "has no class of train: it has 0, 1, 2" in refused(ours, "digits")
    assert "has no labels (2 images)" in refused(ours, tmp_path / "none")
    assert refused(ours, tmp_path / "no").startswith(f"validation='{tmp_path}/no': {tmp_path}/no is not a data source")
    assert f"ours and validation='{tmp_path}/large' hold images of several sizes" in refused(ours, tmp_path / "large")
    assert elsewhere(ours, tmp_path / "large", image_size=8).shape == (3, 8, 8)


def test_column_flags_hold_where_there_are_such_columns(tmp_path):
    parquet(tmp_path / "ours" / "train.parquet", [0, 1] * 6, kind=["dog", "cat"] * 6, who=[i // 2 for i in range(12)])
    parquet(tmp_path / "theirs" / "train.parquet", [1, 0], start=50, kind=["dog", "cat"], who=[0, 0])
    flags = {"label_column": "kind", "group_column": "who"}
    data = elsewhere(tmp_path / "ours", tmp_path / "theirs", **flags)
    assert (data.classes, data.val.labels.tolist()) == (("cat", "dog"), [1, 0])
    assert len(data.train) + len(data.test) == 12  # groups of another source are others
    class_folders(tmp_path / "folders", {"dog": 2, "cat": 1}, start=90)
    assert elsewhere(tmp_path / "ours", tmp_path / "folders", **flags).val.labels.tolist() == [0, 1, 1]


def test_grey_beside_colour_and_other_labels_for_train(tmp_path):
    class_folders(tmp_path / "ours", {"cat": 5, "dog": 5}, grey=True)
    class_folders(tmp_path / "theirs", {"cat": 1, "dog": 1}, start=50)
    (tmp_path / "l.csv").write_text("l\n" + "dog\n" * 5 + "cat\n" * 5)
    data = elsewhere(tmp_path / "ours", tmp_path / "theirs", labels=f"{tmp_path}/l.csv:l")
    assert data.shape == data.val.images.shape[1:] == (3, 8, 8)
    assert data.val.labels.tolist() == [0, 1]
    assert (data.val.images[0].permute(1, 2, 0).numpy() == array(50)).all()
