"""What a run keeps of its instances for a page: pictures by row, or texts to be read."""

from dataclasses import replace

import torch
from safetensors.torch import load_file

from refluence.data.run_scores import HIGHEST, Shown, highest
from refluence.files import read_json
from support.tiny_data import tiny_dataset

DATA = tiny_dataset((30, 20), shape=(1, 8, 8))


def test_the_highest_are_those_of_all_classes_that_were_visited():
    score, visits = torch.arange(50).double(), torch.ones(50, dtype=torch.int64)
    visits[49] = 0
    assert highest(score, visits).tolist() == list(range(48, 48 - HIGHEST, -1))
    assert len(highest(score[:3], visits[:3])) == 3


def test_pictures_are_kept_by_row(tmp_path):
    Shown(DATA, torch.tensor([3, 1])).save(tmp_path)
    stored = load_file(tmp_path / "scores_images.safetensors")
    assert stored["rows"].tolist() == DATA.train.rows[[3, 1]].tolist()
    assert torch.equal(stored["images"], DATA.train.pictures(torch.tensor([3, 1])))


def test_texts_are_kept_as_they_are_read(tmp_path):
    texts = tuple(f"text {n} ü" for n in range(len(DATA.train)))
    Shown(replace(DATA, train=replace(DATA.train, texts=texts)), torch.tensor([3, 1])).save(tmp_path)
    rows = DATA.train.rows[[3, 1]].tolist()
    assert read_json(tmp_path / "scores_texts.json") == {str(rows[0]): "text 3 ü", str(rows[1]): "text 1 ü"}
    assert not (tmp_path / "scores_images.safetensors").exists()
