"""Splits are disjoint, cover the rows, keep every class, keep groups whole, and come out the same every time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refluence.data import SourceOptions, allocate, load, splits
from refluence.data.dataset import Split
from refluence.errors import InputError
from support.pictures import class_folders, labels_of, parquet, png


@given(st.lists(st.integers(0, 4), min_size=1, max_size=120), st.floats(0.01, 0.9), st.sampled_from(["val", "test"]))
def test_cut_is_stratified(labels, fraction, purpose):
    labels = np.array(labels)
    rows = np.arange(len(labels)) * 3 + 1
    taken = splits.cut(labels, rows, fraction, purpose)
    for label in set(labels.tolist()):
        count, got = int((labels == label).sum()), int(taken[labels == label].sum())
        if count == 1:
            assert got == 0
        else:
            assert 1 <= got <= count - 1
            assert got == min(max(1, round(fraction * count)), count - 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=2, max_size=80), st.floats(0.05, 0.5))
def test_groups_never_straddle(pairs, fraction):
    labels = np.array([label for label, _ in pairs])
    groups = [f"g{group}" for _, group in pairs]
    taken = splits.cut(labels, np.arange(len(labels)), fraction, "val", groups)
    for group in set(groups):
        assert len({bool(t) for t, g in zip(taken, groups, strict=True) if g == group}) == 1
    assert set(labels[~taken].tolist()) == set(labels.tolist())  # every class still can be trained on


def test_a_group_that_is_all_of_a_class_stays():
    labels = np.array([0] * 2 + [1] * 100)
    groups = ["few"] * 12 + ["many"] * 45 + ["more"] * 45  # "few" would fit best, but is all of class 0
    taken = splits.cut(labels, np.arange(102), 0.1, "val", groups)
    assert not taken[:12].any()
    assert taken.sum() == 45


def test_group_cut_comes_near_its_share():
    labels = np.repeat(np.arange(5), 200)
    groups = [f"g{i // 4}" for i in range(1000)]
    taken = splits.cut(labels, np.arange(1000), 0.1, "val", groups)
    assert all(16 <= taken[labels == label].sum() <= 24 for label in range(5))


def test_cut_does_not_depend_on_other_rows():
    labels, rows = np.zeros(1000, int), np.arange(1000)
    whole = set(rows[splits.cut(labels, rows, 0.1, "val")].tolist())
    kept = rows % 20 != 0
    part = set(rows[kept][splits.cut(labels[kept], rows[kept], 0.1, "val")].tolist())
    assert len(part - whole) <= 6  # only the rows that fill the gaps are new


def test_val_and_test_are_cut_independently():
    labels, rows = np.zeros(2000, int), np.arange(2000)
    both = splits.cut(labels, rows, 0.2, "val") & splits.cut(labels, rows, 0.2, "test")
    assert 50 < both.sum() < 110  # 80 expected by chance


@settings(max_examples=12, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(3, 14), min_size=2),
    st.floats(0.05, 0.5),
    st.booleans(),
)
def test_load_covers_the_rows_and_keeps_the_classes(tmp_path_factory, counts, fraction, with_test):
    folder = tmp_path_factory.mktemp("set")
    labels = [name for name, count in counts.items() for _ in range(count)]
    parquet(folder / "train.parquet", labels)
    if with_test:
        parquet(folder / "test.parquet", sorted(counts), start=500)
    data = load(str(folder), SourceOptions(val_fraction=fraction))
    assert data.classes == tuple(sorted(counts))
    stored = [data.train, data.val] if with_test else [data.train, data.val, data.test]
    rows = torch.cat([split.rows for split in stored])
    assert sorted(rows.tolist()) == list(range(len(labels)))  # disjoint and complete
    for split in (data.train, data.val, data.test):
        assert split.labels.unique().tolist() == list(range(len(counts)))
    for split in stored:
        assert [data.classes[k] for k in split.labels] == [labels[row] for row in split.rows]


def same(a, b):
    for one, other in ((a.train, b.train), (a.val, b.val), (a.test, b.test)):
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.images, other.images)
        assert one.paths == other.paths
    assert (a.mean, a.std, a.classes, a.notes) == (b.mean, b.std, b.classes, b.notes)


def test_same_splits_every_time(tmp_path, cache_folder):
    import shutil

    source = str(class_folders(tmp_path / "set", {"a": 20, "b": 9}))
    torch.manual_seed(1)
    first = load(source)
    torch.manual_seed(2)
    cached = load(source)
    shutil.rmtree(cache_folder)
    decoded_again = load(source)
    same(first, cached)
    same(first, decoded_again)
    assert load("digits").val.rows.tolist() == load("digits").val.rows.tolist()


def test_split_of_digits_is_pinned():
    """Changing how splits are cut changes every published number: this fails when it happens."""
    data = load("digits")
    assert data.val.rows[:8].tolist() == [24, 31, 47, 67, 69, 74, 76, 79]
    assert data.test.rows[:8].tolist() == [4, 7, 12, 15, 23, 26, 27, 29]
    assert (int(data.val.rows.sum()), int(data.test.rows.sum())) == (125_827, 309_872)


def test_groups_in_load(tmp_path):
    groups = [f"patient {i // 3}" for i in range(60)]
    parquet(tmp_path / "train.parquet", labels_of({0: 30, 1: 30}), patient=groups)
    data = load(str(tmp_path), SourceOptions(group_column="patient"))
    sides = [{groups[row] for row in split.rows.tolist()} for split in (data.train, data.val, data.test)]
    for split in (data.train, data.val.take(torch.tensor([2, 0, 1]))):
        assert len(split.groups) == len(split)
        pairs = {(groups[row], number) for row, number in zip(split.rows.tolist(), split.groups.tolist(), strict=True)}
        assert len(pairs) == len({name for name, _ in pairs}) == len({number for _, number in pairs})
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert len(data.train) + len(data.val) + len(data.test) == 60


def test_groups_shared_with_the_stored_test_split(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 10, who=[i // 2 for i in range(20)])
    parquet(tmp_path / "test.parquet", [0, 1], start=50, who=[3, 3])
    data = load(str(tmp_path), SourceOptions(group_column="who"))
    assert sorted(data.train.rows.tolist() + data.val.rows.tolist()) == [i for i in range(20) if i // 2 != 3]
    assert any("2 training images are left out" in note for note in data.notes)
    with pytest.raises(InputError, match=r"group_column='nobody'.*image, label, who"):
        load(str(tmp_path), SourceOptions(group_column="nobody"))


@pytest.mark.parametrize("made", [lambda i: [i // 2], lambda i: {"id": i // 2}, lambda i: float("nan") if i // 2 != 3 else 3.0])
def test_groups_of_any_type(tmp_path, made):
    """Lists and structs are groups by their content; NaN is no group, so that its row stands alone."""
    parquet(tmp_path / "train.parquet", [0, 1] * 10, who=[made(i) for i in range(20)])
    parquet(tmp_path / "test.parquet", [0, 1], start=50, who=[made(6)] * 2)
    data = load(str(tmp_path), SourceOptions(group_column="who"))
    assert sorted(data.train.rows.tolist() + data.val.rows.tolist()) == [i for i in range(20) if i // 2 != 3]


def test_group_column_needs_columns(tmp_path):
    source = str(class_folders(tmp_path / "set", {"a": 3, "b": 3}))
    with pytest.raises(InputError, match=r"group_column='who'.*image folder"):
        load(source, SourceOptions(group_column="who"))


def test_duplicates_across_splits_are_counted(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 20)
    clean = load(str(tmp_path))
    assert not any("exact duplicates" in note for note in clean.notes)
    in_train, in_val = clean.train.rows[0].item(), clean.val.rows[0].item()
    twice = [{"bytes": png(row), "path": None} for row in (in_train, in_train, in_val, 999)]
    other = tmp_path / "other"
    parquet(other / "train.parquet", [0, 1] * 20)
    parquet(other / "test.parquet", [0, 1, 0, 1], images=twice)
    data = load(str(other))
    found = {"train": 0, "val": 0}
    for image in data.test.images:
        found["train"] += bool((data.train.images == image).all((1, 2, 3)).any())
        found["val"] += bool((data.val.images == image).all((1, 2, 3)).any())
    note = next(note for note in data.notes if "exact duplicates" in note)
    assert found["train"] + found["val"] == 3
    for name, where in (("train", "train"), ("val", "validation")):
        if found[name]:
            assert f"{found[name]} test images are also in {where}" in note


def test_duplicates_between_train_and_validation(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1] * 20, images=[{"bytes": png(7), "path": None}] * 40)
    note = next(note for note in load(str(tmp_path)).notes if "exact duplicates" in note)
    assert "validation images are also in train" in note


def test_small_classes(tmp_path):
    source = str(class_folders(tmp_path / "set", {"big": 40, "mid": 20, "rare": 5}))
    assert len(load(source, per_class=1).classes) == 3
    with pytest.raises(InputError, match=r"'rare' \(3\); 10 are asked for.*small_classes='cap'"):
        load(source, per_class=10)
    capped = load(source, SourceOptions(small_classes="cap"), per_class=10)
    assert capped.classes == ("big", "mid", "rare")
    assert any("cap" in note and "'rare' (3)" in note for note in capped.notes)
    dropped = load(source, SourceOptions(small_classes="drop"), per_class=10)
    assert dropped.classes == ("big", "mid")
    assert any("'rare' (3)" in note for note in dropped.notes)
    for split in (dropped.train, dropped.val, dropped.test):
        assert split.labels.unique().tolist() == [0, 1]
        assert all(row < 60 for row in split.rows.tolist())
    with pytest.raises(InputError, match=r"small_classes='drop' leaves 1 classes"):
        load(source, SourceOptions(small_classes="drop"), per_class=20)


def test_dropping_a_class_in_the_middle_numbers_the_rest_anew(tmp_path):
    source = str(class_folders(tmp_path / "set", {"a": 20, "b": 4, "c": 20}))
    data = load(source, SourceOptions(small_classes="drop"), per_class=5)
    assert data.classes == ("a", "c")
    assert torch.equal(data.train.labels, (data.train.rows >= 24).long())


def test_class_that_only_test_has(tmp_path):
    class_folders(tmp_path / "train", {"a": 5, "b": 5})
    class_folders(tmp_path / "test", {"a": 1, "b": 1, "c": 2}, start=50)
    with pytest.raises(InputError, match=r"split test .* \(c; train has a, b\): small_classes='drop'"):
        load(str(tmp_path))
    with pytest.raises(InputError, match=r"small_classes='drop' leaves them out"):
        load(str(tmp_path), SourceOptions(small_classes="cap"))
    assert len(load(str(tmp_path), SourceOptions(small_classes="drop")).test) == 2


def test_too_small_to_cut(tmp_path):
    with pytest.raises(InputError, match=r"too small to cut a test split"):
        load(str(class_folders(tmp_path / "set", {"a": 1, "b": 1})))


def test_options_are_checked():
    for wrong, flag in (
        ({"small_classes": "keep"}, "small_classes is 'keep'"),
        ({"val_fraction": 0.0}, "val_fraction is"),
        ({"image_size": 0}, "image_size is 0"),
    ):
        with pytest.raises(InputError, match=flag):
            SourceOptions(**wrong)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(1, 20))
def test_allocation(counts, per_class):
    assert allocate(counts, per_class) == tuple(min(per_class, count) for count in counts)
    given = allocate(counts, per_class, "proportional")
    assert sum(given) == min(per_class * len(counts), sum(counts))
    assert all(1 <= g <= count for g, count in zip(given, counts, strict=True))


def test_allocation_is_proportional():
    assert allocate([100, 50, 50], 4, "proportional") == (6, 3, 3)
    with pytest.raises(InputError, match="allocation='fair'"):
        allocate([1, 2], 1, "fair")


def test_the_first_of_each_class_keep_their_rows_and_order():
    labels = torch.tensor([1, 0, 1, 1, 0, 2])
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    split = Split(images, labels, torch.tensor([10, 11, 12, 13, 14, 15]), tuple("abcdef"))
    kept = split.first(2)
    assert kept.labels.tolist() == [1, 0, 1, 0, 2]
    assert kept.rows.tolist() == [10, 11, 12, 14, 15]
    assert kept.images.flatten().tolist() == [0, 1, 2, 4, 5]
    assert kept.paths == ("a", "b", "c", "e", "f")
