"""`--shift KIND[+KIND]:P`."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import refluence as rf
from refluence.cli import main
from refluence.data import SourceOptions, cache, load
from refluence.data.origin import changed
from refluence.data.shift import Shift, shifted
from refluence.data.splits import share
from refluence.data.truth import wrong
from refluence.errors import InputError
from refluence.files import read_json
from support.pictures import parquet

ALL = ("invert", "mirror", "colours", "turn")


def by_hand(kind, images):
    """Pixel by pixel: what each kind does."""
    n, c, h, w = images.shape
    found = torch.empty_like(images)
    for i in range(n):
        for k in range(c):
            for y in range(h):
                for x in range(w):
                    value = images[i, k, y, x]
                    if kind == "invert":
                        found[i, k, y, x] = (255 if images.dtype == torch.uint8 else 1) - value
                    elif kind == "mirror":
                        found[i, k, y, w - 1 - x] = value
                    elif kind == "colours":
                        found[i, (k + 1) % c, y, x] = value
                    else:
                        found[i, k, w - 1 - x, y] = value
    return found


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("floats", [False, True])
def test_what_each_kind_does(kind, floats):
    images = torch.randint(0, 256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = images / 255 if floats else images
    assert torch.equal(shifted(images, Shift((kind,), 0.5)), by_hand(kind, images))


def test_kinds_follow_each_other():
    images = torch.arange(2 * 3 * 9, dtype=torch.uint8).view(2, 3, 3, 3)
    there = shifted(images, Shift(("mirror", "turn", "invert"), 0.5))
    assert torch.equal(there, by_hand("invert", by_hand("turn", by_hand("mirror", images))))
    assert not torch.equal(there, shifted(images, Shift(("turn", "mirror", "invert"), 0.5)))


def test_a_share_of_each_class_and_a_larger_one_adds_to_it():
    labels, rows = np.repeat([0, 1], [100, 30]), np.arange(130)
    less, more = (share(labels, rows, fraction, "shift") for fraction in (0.2, 0.5))
    assert [int(less[labels == c].sum()) for c in (0, 1)] == [20, 6]
    assert [int(more[labels == c].sum()) for c in (0, 1)] == [50, 15]
    assert (more[less]).all()
    order = np.random.default_rng(0).permutation(130)
    assert (share(labels[order], rows[order], 0.5, "shift") == more[order]).all()
    assert 0 < (share(labels, rows, 0.5, "noise") & more).sum() < more.sum(), "another order than that of wrong labels"


def test_train_alone_is_shifted_and_normalised_as_it_is_trained_on():
    plain, data = rf.load("digits"), rf.load("digits", shift="invert+mirror:0.5")
    for name in ("train", "val", "test"):
        before, after = getattr(plain, name), getattr(data, name)
        assert torch.equal(before.rows, after.rows)
        assert torch.equal(before.labels, after.labels)
        if name != "train":
            assert torch.equal(before.images, after.images)
            assert after.shifted is None
    there = data.train.shifted
    assert torch.equal(wrong(data.train), there)
    counts, chosen = plain.train.labels.bincount().tolist(), data.train.labels[there].bincount().tolist()
    assert chosen == [round(0.5 * count) for count in counts]
    assert torch.equal(data.train.images[~there], plain.train.images[~there])
    assert torch.equal(data.train.images[there], 255 - plain.train.images[there].flip(3))
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx((pixels.mean().item(),))
    assert data.std == pytest.approx((pixels.std(correction=0).item(),))
    assert data.mean != plain.mean
    said = (
        f"shift='invert+mirror:0.5': {sum(chosen)} of {sum(counts)} images of train are changed, those of validation and test"
    )
    assert any(said in note for note in data.notes)
    assert not changed(data)
    first = data.train.first(2)
    assert torch.equal(first.shifted, there[torch.isin(data.train.rows, first.rows)])


def test_it_goes_with_every_other_option(tmp_path):
    whole = rf.load("digits", rows=600, noise="symmetric:0.4", shift="turn:0.5")
    assert torch.equal(whole.train.rows, rf.load("digits", rows=600).train.rows)
    own = whole.train.stored[whole.train.shifted].bincount().tolist()
    assert own == [round(0.5 * count) for count in whole.train.stored.bincount().tolist()], "by the labels of the source"
    assert torch.equal(wrong(whole.train), whole.train.shifted | (whole.train.labels != whole.train.stored))
    rows = whole.train.rows.tolist()
    pq.write_table(pa.table({"index": rows, "score": [float(row) for row in rows]}), tmp_path / "s.parquet")
    rest = rf.load("digits", rows=600, noise="symmetric:0.4", shift="turn:0.5", drop=f"{tmp_path}/s.parquet:0.3")
    here = torch.isin(whole.train.rows, rest.train.rows)
    assert torch.equal(rest.train.shifted, whole.train.shifted[here])
    assert torch.equal(rest.train.images, whole.train.images[here])


def test_decoded_pictures_stay_as_they_are_in_the_cache(tmp_path, monkeypatch):
    parquet(tmp_path / "train.parquet", [0, 1] * 20)
    parquet(tmp_path / "test.parquet", [0, 1], start=100)
    plain = load(str(tmp_path))
    monkeypatch.setattr(cache, "MAP_ABOVE", 0)  # parts of the images have entries of their own
    for _ in range(2):
        one, other = (load(str(tmp_path), SourceOptions(shift=f"{kind}:0.5")).train for kind in ("colours", "turn"))
        there = one.shifted
        assert torch.equal(there, other.shifted)
        assert torch.equal(one.images[there], plain.train.images[there][:, [2, 0, 1]])
        assert torch.equal(other.images[there], plain.train.images[there].transpose(2, 3).flip(2))
        assert torch.equal(one.images[~there], plain.train.images[~there])
        again = load(str(tmp_path))
        assert torch.equal(again.train.images, plain.train.images)


def test_images_of_the_user_stay_as_they_are_and_copies_in_another_domain_are_no_duplicates():
    images = torch.rand(40, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    before, labels = images.clone(), np.arange(40) % 2
    data = rf.load((images, labels), test=(images[:20], labels[:20]), shift="invert:0.5")
    assert torch.equal(images, before)
    there, rows = data.train.shifted, data.train.rows
    assert torch.equal(data.train.images, torch.where(there[:, None, None, None], 1 - images[rows], images[rows]))
    same = int(((rows < 20) & ~there).sum())
    assert 0 < same < 20
    assert any(f"{same} test images are also in train" in note for note in data.notes)


@pytest.mark.parametrize(
    "text", ["invert", "invert:0", "invert:1", "invert:nan", "blur:0.5", "invert+:0.5", "invert+invert:0.5", ":0.5", "0.5"]
)
def test_a_shift_that_cannot_be_is_refused_at_both_doors(capsys, tmp_path, text):
    with pytest.raises(InputError, match=r"^shift is '.*': it must be KIND:P or KIND\+KIND:P, where a KIND is invert, mirror"):
        rf.load("digits", shift=text)
    assert main(["distill", "--data", "digits", "--shift", text, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert f"--shift {text}: it must be" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "shape", "scale", "why"),
    [
        ("colours", (1, 6, 6), 1, "are grey, colours cannot change places: leave colours out"),
        (
            "turn",
            (3, 6, 8),
            1,
            "are 6 x 8 pixels, turn is for square ones: leave turn out, or make them square with image_size=6",
        ),
        ("invert", (3, 6, 6), 9, "are floats from .* to 8.*, invert is for 8 bits and for floats from 0 to 1"),
    ],
)
def test_images_that_cannot_be_shifted_so_are_one_line(kind, shape, scale, why):
    images = torch.linspace(0, scale, 40 * int(np.prod(shape))).view(40, *shape).float()
    labels = np.arange(40) % 2
    with pytest.raises(InputError, match=rf"^shift='mirror\+{kind}:0.5': the images of .* {why}") as refused:
        rf.load((images, labels), shift=f"mirror+{kind}:0.5")
    assert "\n" not in str(refused.value)
    rf.load((images, labels), shift="mirror:0.5")


def test_a_selection_with_rows_and_a_shift_stops_resumes_and_repeats_to_the_same_set(capsys, tmp_path):
    words = ["distill", "--data", "digits", "--method", "random", "--ipc", "2", "--width", "4", "--nets", "1", "--epochs", "1"]
    words += ["--threads", "1", "--quiet", "--rows", "300", "--shift", "invert+mirror:0.5"]
    out = tmp_path / "run"
    assert main([*words, "--out", str(out)]) == 0
    options = read_json(out / "config.json")["resolved"]["data"]["options"]
    assert (options["rows"], options["shift"]) == (300, "invert+mirror:0.5")
    assert main([*words, "--out", str(out), "--resume"]) == 0
    assert main(["repeat", str(out)]) == 0
    assert "same" in capsys.readouterr().out
    kept, data = rf.open(out).set, rf.load("digits", rows=300, shift="invert+mirror:0.5")
    pixels = data.pixels(data.train)
    at = [int((pixels - image).abs().flatten(1).amax(1).argmin()) for image in kept.images]
    assert torch.allclose(pixels[at], kept.images, atol=1e-5), "the set holds images as they were trained on"
    assert main(["evaluate", str(out), "--nets", "1", "--epochs", "1", "--quiet"]) == 0
    capsys.readouterr()
    for other in (["--shift", "invert:0.5"], ["--rows", "200"]):
        assert main([*words, *other, "--out", str(out), "--resume"]) == 2
        said = capsys.readouterr().err
        assert other[0] in said
        assert said.count("\n") == 1


def test_other_processes_read_the_same_data():
    from refluence.jobs.session import Machine, open_session

    session = open_session("digits", Machine(threads=1), SourceOptions(rows=200, shift="turn:0.25"))
    again = session.reopened()().dataset
    assert torch.equal(session.dataset.train.images, again.train.images)
    assert torch.equal(session.dataset.train.shifted, again.train.shifted)
    assert session.dataset.mean == again.mean


def test_scores_say_which_images_are_from_another_domain(tmp_path):
    data = rf.load("digits", rows=200, shift="invert:0.5")
    table = rf.score(data, folds=2, epochs=1, width=4, terms="explicit", out=tmp_path / "s.parquet")
    assert torch.equal(table.shifted, data.train.shifted)
    assert torch.equal(rf.ScoreTable.load(tmp_path / "s.parquet").shifted, data.train.shifted)
    assert (table.facts["shift"], table.facts["rows"]) == ("invert:0.5", 200)
