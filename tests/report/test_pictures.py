"""Pictures survive the way into the page; the galleries choose and order them."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from refluence.report.gallery import distilled_gallery, picture_rows, real_gallery
from refluence.report.pictures import LARGEST, data_uri, visible
from refluence.report.reading import Scores, read_unit
from report import fabricate


def decode(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_are_exact(channels):
    image = np.random.default_rng(0).integers(0, 256, (channels, 9, 7), dtype=np.uint8)
    assert np.array_equal(decode(data_uri(image)).reshape(9, 7, channels), image.transpose(1, 2, 0))


def test_large_pictures_are_shrunk():
    uri = data_uri(np.full((3, 300, 200), 77, np.uint8))
    assert decode(uri).shape == (LARGEST, LARGEST * 2 // 3, 3)
    assert len(uri) < 2000


def test_normalisation_is_undone_and_clipped():
    images = np.array([-10.0, 0.0, 1.0, 10.0], np.float32).reshape(4, 1, 1, 1)
    assert visible(images, [0.5], [0.25]).ravel().tolist() == [0, 128, 191, 255]
    stretched = visible(np.array([[[[-3.0, np.nan, 1.0]]]], np.float32), None, None)
    assert stretched.ravel().tolist() == [0, 191, 255]


def test_distilled_images_come_in_order_of_influence(tmp_path):
    unit = read_unit(fabricate.unit(tmp_path, ipc=4))
    distilled = unit.distilled()
    order = np.argsort(-distilled.influence[:4])
    pixels = visible(distilled.images([0, 1, 2, 3]), unit.card["mean"], unit.card["std"])
    gallery = distilled_gallery(unit)
    assert [tile.uri for tile in gallery.rows[0].tiles] == [data_uri(pixels[i]) for i in order]
    assert gallery.rows[0].name == "circle"


def rewritten(folder, stage=None, **card):
    """The unit of a folder after its distilled set got these stages and facts."""
    path = folder / "distilled" / "images.safetensors"
    tensors = load_file(path) | ({} if stage is None else {"stage": np.asarray(stage)})
    save_file(tensors, path)
    known = json.loads((folder / "distilled" / "card.json").read_text())
    (folder / "distilled" / "card.json").write_text(json.dumps(known | card))
    return read_unit(folder)


def test_images_that_hold_several_are_shown_as_stored_and_counted(tmp_path):
    unit = rewritten(fabricate.unit(tmp_path, ipc=4), factor=2)
    gallery = distilled_gallery(unit)
    assert [len(row.tiles) for row in gallery.rows] == [4, 4]
    assert gallery.notes[:2] == ["Each picture holds 2 x 2 reduced images.", "Networks are trained on all 32, enlarged."]
    real = distilled_gallery(rewritten(tmp_path, factor=3, iterations=0)).notes
    assert real[:2] == ["Each picture holds 3 x 3 reduced real images.", "Networks are trained on all 72, enlarged."]
    plain = distilled_gallery(rewritten(tmp_path, factor=1, iterations=0)).notes
    assert plain[:2] == ["Real images, chosen and not changed.", "Highest influence first."]


@pytest.mark.parametrize(("ipc", "shown"), [(6, 6), (12, 9)])
def test_stages_keep_their_order_and_each_is_shown(tmp_path, ipc, shown):
    stage = np.tile(np.repeat([0, 1, 2], ipc // 3), 2)
    unit = rewritten(fabricate.unit(tmp_path, ipc=ipc), stage=stage)
    influence = unit.distilled().influence[:ipc]
    gallery = distilled_gallery(unit)
    each = shown // 3
    expected = [i for s in range(3) for i in sorted(np.flatnonzero(stage[:ipc] == s), key=lambda i: -influence[i])[:each]]
    pixels = visible(unit.distilled().images(expected), unit.card["mean"], unit.card["std"])
    assert [tile.uri for tile in gallery.rows[0].tiles] == [data_uri(picture) for picture in pixels]
    assert [tile.words[-1] for tile in gallery.rows[0].tiles] == ["1"] * each + ["2"] * each + ["3"] * each
    assert gallery.notes[0] == "In the order of their 3 stages; in each: highest influence first."


def test_highest_and_lowest_instances():
    score = np.array([0.3, -0.1, 0.9, -0.7, 0.2, 5.0])
    label = np.array([0, 0, 0, 0, 0, 1])
    scores = Scores(np.arange(6) + 100, label, score, [None] * 6, {102: np.zeros((1, 4, 4), np.uint8)})
    circle, lonely = real_gallery(scores, ["circle"], "").rows
    assert [tile.number for tile in circle.tiles] == ["row 102", "row 100", "row 104"]
    assert [tile.number for tile in circle.lowest] == ["row 103", "row 101"]
    assert [tile.uri is None for tile in circle.tiles] == [False, True, True]
    assert (lonely.name, len(lonely.tiles), lonely.lowest) == ("class 1", 1, [])
    assert circle.tiles[0].caption == "+0.90"
    assert picture_rows(scores.index, label, np.where(score == 0.9, np.nan, score)) == [100, 104, 103, 101, 105]
