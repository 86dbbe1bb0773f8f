"""Texts as a source: columns, token ids, splits, and what is refused."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from refluence.data import SourceOptions, load
from refluence.data.text import TextDataset
from refluence.errors import InputError
from refluence.jobs.catalogue import parse_arm
from refluence.jobs.resolve import resolve
from refluence.options import JobOptions
from refluence.text import TextShape
from support.tiny_text import CLS, PAD, SEP, UNK, sentences, text_folder, tokenizer_folder, word

pytest.importorskip("transformers")
GLUE = Path(__file__).parents[3] / "shared" / "data" / "glue"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return str(tokenizer_folder(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture
def read(tmp_path, tokenizer):
    def reading(source=None, **options):
        source = source or str(text_folder(tmp_path / "set"))
        return load(source, SourceOptions(**{"tokenizer": tokenizer, "max_length": 16, **options}))

    return reading


def table(folder: Path, **columns) -> str:
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "train.parquet")
    return str(folder)


def test_sentences_become_ids(read):
    data = read()
    assert isinstance(data, TextDataset)
    assert data.shape == TextShape(length=16, vocabulary=14, pad=PAD)
    assert (len(data.train), len(data.val), len(data.test)) == (36, 4, 10)
    assert data.notes[0].startswith("50 texts in 2 classes")
    texts, labels = sentences(40)
    for row, said, label, ids in zip(data.train.rows, data.train.texts, data.train.labels, data.train.images, strict=True):
        assert (texts[row], labels[row]) == (said, label)
        expected = [CLS, *map(word, said.split()), SEP]
        assert ids.tolist() == expected + [PAD] * (len(ids) - len(expected))


def test_a_batch_is_as_long_as_its_longest_row(read):
    data = read()
    lengths = (data.train.images != PAD).sum(1)
    short = (lengths == lengths.min()).nonzero().flatten()
    ids = data.pixels(data.train, short)
    assert ids.dtype == torch.int64
    assert ids.shape == (len(short), int(lengths.min()))
    assert data.pixels(data.train).shape[1] == int(lengths.max())


def test_splits_of_texts_are_cut_as_those_of_images(read):
    data = read(rows=20, noise="symmetric:0.5", val_fraction=0.2)
    assert len(data.train) + len(data.val) == 20
    wrong = data.train.labels != data.train.stored
    assert 0 < int(wrong.sum()) < len(data.train)
    texts, labels = sentences(40)
    assert [labels[row] for row in data.train.rows.tolist()] == data.train.stored.tolist()
    assert data.train.take(torch.tensor([3])).texts == (texts[data.train.rows[3]],)


def test_labels_and_groups_go_by_row(read, tmp_path):
    texts, labels = sentences(20)
    source = table(tmp_path / "a", text=texts, label=labels, who=[f"p{i // 4}" for i in range(20)])
    pq.write_table(pa.table({"other": [1 - label for label in labels]}), tmp_path / "labels.parquet")
    data = read(source, group_column="who", labels=f"{tmp_path}/labels.parquet:other")
    assert torch.equal(data.train.labels, 1 - data.train.stored)
    assert not set(data.train.rows.div(4, rounding_mode="floor").tolist()) & set((data.val.rows // 4).tolist())


def test_pairs_are_joined(read, tmp_path):
    rows = 20
    source = table(tmp_path / "a", premise=["the film"] * rows, hypothesis=["bad", "good"] * 10, label=[0, 1] * 10)
    data = read(source)
    at = int((data.train.labels == 0).nonzero()[0])
    ids = data.pixels(data.train, torch.tensor([at]))
    assert ids.tolist() == [[CLS, word("the"), word("film"), SEP, word("bad"), SEP]]
    assert data.train.texts[at] == "the film || bad"
    assert read(source, text_columns="hypothesis").train.images.shape[1] == 3


def test_long_texts_are_cut_and_counted(read, tmp_path):
    source = table(tmp_path / "a", text=["good " * 20, "bad"] * 10, label=[1, 0] * 10)
    data = read(source, max_length=8)
    assert data.train.images.shape[1] == 8
    assert data.train.images.max(1).values.gt(0).all()
    assert [note for note in data.notes if "cut to" in note] == [
        f"10 of 20 texts of {source}/train.parquet are cut to 8 tokens"
    ]
    long = data.pixels(data.train)[:, -1] != PAD
    assert data.pixels(data.train)[long][:, -1].tolist() == [SEP] * int(long.sum())


def test_unknown_words_and_the_mark_of_padding_inside(read, tmp_path):
    source = table(tmp_path / "a", text=["zebra good", "[PAD] bad"] * 10, label=[1, 0] * 10)
    data = read(source)
    first, second = (data.train.members(label)[:1] for label in (1, 0))
    assert data.pixels(data.train, first).tolist() == [[CLS, UNK, word("good"), SEP]]
    assert data.pixels(data.train, second).tolist() == [[CLS, PAD, word("bad"), SEP]]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"image_size": 8}, "image_size=8 is for images: .* holds texts"),
        ({"shift": "invert:0.1"}, "shift='invert:0.1' is for images"),
        ({"text_columns": "label"}, "the column of .* holds no text"),
        ({"text_columns": "words"}, "has no such column; it has sentence, label"),
        ({"text_columns": "a,b,c"}, "expected one column or two"),
        ({"max_length": 64}, "the tokenizer takes 32 tokens at most"),
        ({"tokenizer": "/"}, "/ cannot be read as a tokenizer"),
    ],
)
def test_options_that_do_not_fit(read, options, says):
    with pytest.raises(InputError, match=says):
        read(**options)


def test_columns_that_are_no_text_task(read, tmp_path):
    texts, labels = sentences(12)
    with pytest.raises(InputError, match=r"label 1\.5 is a number and no class"):
        read(table(tmp_path / "a", sentence=texts, label=[1.5 + i for i in range(12)]))
    with pytest.raises(InputError, match=r"row 2 of .* has no text, but None"):
        read(table(tmp_path / "b", sentence=[*texts[:2], None, *texts[3:]], label=labels))
    with pytest.raises(InputError, match="labels are missing"):
        read(table(tmp_path / "c", sentence=texts, label=[-1, *labels[1:-1], 0]))
    with pytest.raises(InputError, match=r"no text column with a usual name; its columns are remark, label"):
        read(table(tmp_path / "d", remark=texts, label=labels))
    assert len(read(str(tmp_path / "d"), text_columns="remark").test) > 0


def test_images_take_no_tokenizer(tokenizer):
    with pytest.raises(InputError, match="is for texts: digits holds images"):
        load("digits", SourceOptions(tokenizer=tokenizer))


def test_texts_beside_images(read, tmp_path):
    with pytest.raises(InputError, match="holds texts and digits images"):
        load("digits", SourceOptions(validation=str(text_folder(tmp_path / "set"))))


@pytest.mark.parametrize("arm", ["dm", "herding"])
def test_small_sets_are_made_of_images(read, arm):
    with pytest.raises(InputError, match=f"holds texts, and arm '{arm}' takes images"):
        resolve(JobOptions(ipc=1), parse_arm(arm), read(), 0)


@pytest.mark.real_data
@pytest.mark.skipif(not GLUE.is_dir(), reason=f"the folder of real datasets is absent ({GLUE})")
def test_glue(tokenizer):
    options = SourceOptions(tokenizer=tokenizer, max_length=16)
    data = load(f"{GLUE}:wnli", options)
    assert (len(data.train) + len(data.val), len(data.test)) == (635, 71)
    assert data.classes == ("not_entailment", "entailment")
    assert " || " in data.train.texts[0]
    with pytest.raises(InputError, match="task of regression"):
        load(f"{GLUE}:stsb", options)
