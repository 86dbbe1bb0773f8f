"""Data from Python: arrays, tensors, torch datasets and `datasets`, with the splits of a source; floats keep every bit."""

import doctest

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, Subset

from refluence.data import SourceOptions, load, loading
from refluence.errors import InputError
from support.pictures import array, class_folders, picture

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
FLOATS = GENERATOR.random((60, 3, 8, 8))
LABELS = np.arange(60) % 3


class Pairs(Dataset):
    """A map-style dataset of what is given."""

    def __init__(self, images, labels, classes=None):
        self.images, self.labels = images, labels
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def rows(data):
    return {
        row: image
        for split in (data.train, data.val, data.test)
        for row, image in zip(split.rows.tolist(), split.images, strict=True)
    }


def refused(source, **how):
    with pytest.raises(InputError) as caught:
        load(source, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_example_of_load_runs():
    assert doctest.testmod(loading).attempted == 4
    assert doctest.testmod(loading).failed == 0


@pytest.mark.parametrize("make", [lambda x: x, torch.from_numpy, lambda x: x.transpose(0, 3, 1, 2)])
def test_arrays_are_split_as_any_source(make):
    data = load((make(PIXELS), LABELS))
    assert (data.classes, data.shape) == (("0", "1", "2"), (3, 8, 8))
    assert [len(split) for split in (data.train, data.val, data.test)] == [42, 6, 12]
    found = rows(data)
    assert all((found[row].permute(1, 2, 0).numpy() == PIXELS[row]).all() for row in range(60))
    assert data.train.labels.tolist() == (data.train.rows % 3).tolist()
    x = data.pixels(data.train)
    assert x.mean((0, 2, 3)).abs().max() < 1e-5
    assert (x.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_eight_bits_are_read_as_from_a_folder(tmp_path):
    class_folders(tmp_path / "set", {"0": 10, "1": 10})
    folder = load(str(tmp_path / "set"))
    data = load((np.stack([array(i) for i in range(20)]), [0] * 10 + [1] * 10))
    for one, other in ((data.train, folder.train), (data.val, folder.val), (data.test, folder.test)):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.rows, other.rows)
    assert (data.mean, data.std) == (folder.mean, folder.std)


@pytest.mark.parametrize("scale", [1, 200])
def test_floats_keep_every_bit_and_pictures_of_them_are_clipped(scale):
    images = torch.from_numpy(FLOATS * scale - scale / 4).float()
    data = load((images, torch.from_numpy(LABELS)))
    assert data.train.images.dtype == torch.float32
    assert torch.equal(data.train.images, images[data.train.rows])
    chosen = images[data.train.rows].double()
    assert data.mean == pytest.approx(chosen.mean((0, 2, 3)).tolist())
    assert data.std == pytest.approx(chosen.std((0, 2, 3), correction=0).tolist())
    before = data.train.images.clone()
    x = data.pixels(data.train, slice(0, 5))
    assert torch.equal(data.train.images, before)  # nothing is normalised in place
    assert x.mean().abs() < 0.2
    looks = data.train.pictures(torch.tensor([1, 0]))
    assert torch.equal(looks, (before[[1, 0]].clamp(0, 1) * 255).round().byte())
    assert any("pixels from" in note and "clipped" in note for note in data.notes)


def test_a_network_predicts_alike_from_floats_and_from_eight_bits():
    from refluence.evaluate.measure import predict

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    eight = load((PIXELS, LABELS))
    floats = load((PIXELS.astype(np.float32) / 255, LABELS))
    assert floats.mean == pytest.approx(eight.mean)
    found = [predict(net, data.test, data.mean, data.std) for data in (eight, floats)]
    assert torch.equal(*found)
    assert torch.allclose(eight.pixels(eight.val), floats.pixels(floats.val), atol=1e-5)


def test_splits_of_ones_own_and_digests():
    train, test, val = ((FLOATS[a:b], LABELS[a:b]) for a, b in ((0, 36), (36, 51), (51, 60)))
    data = load(train, test=test, validation=val)
    assert [len(split) for split in (data.train, data.val, data.test)] == [36, 9, 15]
    assert data.validation.startswith("arrays:")
    assert data.source.startswith("arrays:")
    assert load({"train": train, "val": val, "test": test}).validation == "split 'val'"
    assert load(train, test=test).source == data.source != load(train).source
    changed = train[0].copy()
    changed[3, 0, 0, 0] += 1e-3
    sources = [load((changed, train[1])).source, load((train[0], train[1][::-1].copy())).source, load(train).source]
    assert len(set(sources)) == 3
    assert "give the same data again" in refused(data.source)
    assert "test= goes with data in Python" in refused("digits", test=test)
    assert "hold a test split already" in refused({"train": train, "test": test}, test=test)
    assert "named twice" in refused(train, options=SourceOptions(validation="digits"), validation=val)
    mixed = load("digits", validation=(np.zeros((4, 8, 8), np.uint8), [3, 2, 1, 0]))
    assert mixed.val.labels.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("own", [FLOATS.astype("float32"), PIXELS.transpose(0, 3, 1, 2).copy(), torch.rand(60, 1, 8, 8)])
def test_what_is_loaded_is_a_copy(own):
    own = own.clone() if isinstance(own, torch.Tensor) else own.copy()
    validation = (own[:9].clone() if isinstance(own, torch.Tensor) else own[:9].copy(), LABELS[:9])
    data = load((own, LABELS), test=(own, LABELS), validation=validation)
    before = [split.images.clone() for split in (data.train, data.val, data.test)]
    own += 5
    validation[0][...] += 5
    assert all(torch.equal(split.images, was) for split, was in zip((data.train, data.val, data.test), before, strict=True))


def test_torch_datasets_of_tensors_and_of_pictures():
    images = [picture(i, size=(10, 12)) for i in range(24)]
    labels = [i % 2 for i in range(24)]
    whole = Pairs(images, labels, ["cat", "dog"])
    data = load(whole, SourceOptions(image_size=8))
    assert (data.classes, data.shape) == (("cat", "dog"), (3, 8, 8))
    assert data.source.startswith("torch:")
    part = load(Subset(whole, range(12)), SourceOptions(image_size=8), test=Subset(whole, range(12, 24)))
    assert part.classes == ("cat", "dog")
    assert torch.equal(part.test.images[0], rows(data)[12])
    tensors = Pairs([torch.from_numpy(image) for image in FLOATS], [torch.tensor(label) for label in LABELS])
    data = load(tensors)
    assert torch.equal(data.train.images, torch.from_numpy(FLOATS).float()[data.train.rows])
    assert load(tensors).source == data.source
    assert load(tensors, SourceOptions(image_size=4)).shape == (3, 4, 4)


def test_datasets_with_their_own_splits():
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})

    def table(start, count):
        content = {"image": [picture(i) for i in range(start, start + count)], "label": [i % 2 for i in range(count)]}
        return datasets.Dataset.from_dict(content, features=features)

    alone = load(table(0, 20))
    assert alone.classes == ("cat", "dog")
    assert (rows(alone)[3].permute(1, 2, 0).numpy() == array(3)).all()
    assert load(table(0, 20).with_format("torch")).source == alone.source != load(table(1, 20)).source
    parts = datasets.DatasetDict({"train": table(0, 12), "validation": table(20, 4), "test": table(40, 6)})
    data = load(parts)
    assert (len(data.train), len(data.val), len(data.test)) == (12, 4, 6)
    assert data.validation == "split 'validation'"
    assert data.source.startswith("splits:")
    assert load(table(0, 12), test=table(40, 6)).test.labels.tolist() == [0, 1] * 3


def test_other_channels_are_kept():
    data = load((GENERATOR.random((30, 9, 9, 5)), np.arange(30) % 2))
    assert data.shape == (5, 9, 9)
    grey = load((PIXELS[..., 0], LABELS), test=(PIXELS[:6], LABELS[:6]))
    assert grey.shape == grey.test.images.shape[1:] == (3, 8, 8)
    assert "different numbers of channels" in refused(
        (np.zeros((6, 8, 8, 5)), [0, 1] * 3), test=(PIXELS[:6, :, :, :1], [0, 1] * 3)
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ((np.zeros((6, 3, 9, 3)), [0, 1] * 3), "which axis of (6, 3, 9, 3) holds the channels cannot be known"),
        ((np.zeros((6, 4, 4, 4)), [0, 1] * 3), "which axis of (6, 4, 4, 4)"),
        ((np.zeros((6, 4, 5, 6)), [0, 1] * 3), "which axis of (6, 4, 5, 6)"),
        ((np.zeros((6, 8, 8), np.int64), [0, 1] * 3), "images are int64: expected uint8 (0 to 255) or floats"),
        ((np.zeros((6, 8, 8), object), [0, 1] * 3), "images are object: expected uint8"),
        ((np.zeros((6, 64)), [0, 1] * 3), "images have the shape (6, 64)"),
        ((np.zeros((0, 8, 8)), []), "images have the shape (0, 8, 8)"),
        ((np.full((6, 8, 8), np.nan), [0, 1] * 3), "384 pixels are not finite"),
        ((np.zeros((6, 8, 8)), [0, 1]), "6 images and 2 labels"),
        ((np.zeros((6, 8, 8)), np.eye(6)), "labels have the shape (6, 6)"),
        ((np.zeros((6, 8, 8)), [0, 1, 0.5] * 2), "label 0.5 is not a whole number"),
        ((np.zeros((6, 8, 8)), [0, 1, None] * 2), "2 of 6 labels are missing"),
        ((np.zeros((6, 8, 8)), [[0], [1]] * 3), "neither a number nor a name"),
        (([[0]], [0]), "images are of type list: expected an array or a tensor"),
        ((np.zeros((6, 8, 8)),), "1 things in place of two"),
        (5, "int is no source of data"),
        (Pairs([], []), "the dataset is empty"),
        (Pairs(["a", "b"], [0, 1]), "the image of item 0 is of type str"),
        (Pairs([torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)], [0, 1]), "items 0 and 1 are (3, 8, 8) torch.float32 and"),
        ([torch.zeros(3, 8, 8)] * 3, "3 things in place of two"),
        ({"test": (PIXELS, LABELS)}, "no train split"),
        (Pairs([picture(0), picture(1, size=(9, 9))] * 5, [0, 1] * 5), "holds images of several sizes"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_one_line(source, said):
    assert said in refused(source)


def test_random_items_and_columns_are_refused():
    class Random(Pairs):
        def __getitem__(self, index):
            return torch.rand(3, 8, 8), index % 2

    assert "another image each time it is read: leave random augmentation out" in refused(Random([], [0] * 8))
    assert "label_column='y': arrays: only tables have columns" in refused(
        (PIXELS, LABELS), options=SourceOptions(label_column="y")
    )
    assert "validation: arrays: 60 images and 2" in refused("digits", validation=(PIXELS, [0, 1]))
    assert "hold images of several sizes" in refused("digits", validation=(np.zeros((2, 9, 9)), [0, 1]))


def test_a_list_of_pairs_is_read_as_a_dataset_of_them():
    pairs = [(torch.full((1, 4, 4), index / 40), index % 2) for index in range(40)]
    listed, stacked = load(pairs), load((torch.stack([image for image, _ in pairs]), [label for _, label in pairs]))
    assert listed.source.startswith("torch:")
    for name in ("train", "val", "test"):
        assert torch.equal(getattr(listed, name).images, getattr(stacked, name).images)
        assert torch.equal(getattr(listed, name).labels, getattr(stacked, name).labels)


def test_an_item_that_cannot_be_read_is_named():
    class Broken(Pairs):
        def __getitem__(self, index):
            if index == 17:
                raise OSError("no such\nphoto")
            return torch.full((3, 8, 8), index / 40), index % 2

    assert "item 17 cannot be read (OSError: no such photo)" in refused(Broken([], [0] * 40))
