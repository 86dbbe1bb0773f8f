"""`--noise symmetric:P|asymmetric:P`."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import refluence as rf
from refluence.cli import main
from refluence.data import SourceOptions, load
from refluence.data.noise import CIFAR10, Noise, noisy
from refluence.data.origin import changed
from refluence.errors import InputError
from refluence.files import read_json
from support.pictures import parquet

LABELS, ROWS = np.arange(400) % 4, np.arange(400)
NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("share", [0.2, 0.4])
def test_a_share_of_each_class_gets_another_label(kind, share):
    found = noisy(LABELS, ROWS, NAMES, Noise(kind, share))
    for label in range(4):
        given = found[label == LABELS]
        assert (given != label).sum() == round(100 * share)
        others = {(label + 1) % 4} if kind == "asymmetric" else {0, 1, 2, 3} - {label}
        assert set(given[given != label]) == others


def test_symmetric_noise_gives_each_other_class_as_often():
    labels = np.zeros(9000, np.int64)
    labels[:3] = 1, 2, 3
    given = np.bincount(noisy(labels, np.arange(9000), NAMES, Noise("symmetric", 0.9))[3:], minlength=4)
    assert abs(given[1:] / given[1:].sum() - 1 / 3).max() < 0.02


def test_a_label_hangs_on_the_row_alone_and_more_noise_adds_to_less():
    less, more = (noisy(LABELS, ROWS, NAMES, Noise("symmetric", share)) for share in (0.2, 0.4))
    assert (more[less != LABELS] == less[less != LABELS]).all()
    order = np.random.default_rng(0).permutation(400)
    assert (noisy(LABELS[order], ROWS[order], NAMES, Noise("symmetric", 0.4)) == more[order]).all()
    stay = np.ones(400, bool)
    stay[[7, 8]] = False
    fewer = noisy(LABELS[stay], ROWS[stay], NAMES, Noise("symmetric", 0.4))
    assert (fewer != more[stay]).sum() <= 2  # the next in order, where one that was flipped is gone


def test_classes_of_cifar10_are_mistaken_for_what_they_resemble():
    labels = np.arange(100) % 10
    found = noisy(labels, np.arange(100), CIFAR10, Noise("asymmetric", 0.4))
    pairs = {(CIFAR10[a], CIFAR10[b]) for a, b in zip(labels, found, strict=True) if a != b}
    assert pairs == {("truck", "automobile"), ("bird", "airplane"), ("deer", "horse"), ("cat", "dog"), ("dog", "cat")}
    again = noisy(labels, np.arange(100), sorted(CIFAR10, reverse=True), Noise("asymmetric", 0.4))
    assert (again[labels == 0] != 0).sum() == 4, "truck is the first of these"


def test_a_class_without_rows_is_given_to_none():
    labels = np.array([0, 2] * 10)
    for kind in ("symmetric", "asymmetric"):
        assert set(noisy(labels, np.arange(20), ("a", "b", "c"), Noise(kind, 0.5))) == {0, 2}


def compared(plain, data, wrong_splits):
    """The same rows everywhere; wrong labels on some splits alone, whose stored labels are kept beside them."""
    for name in ("train", "val", "test"):
        before, after = getattr(plain, name), getattr(data, name)
        assert torch.equal(before.rows, after.rows)
        if name in wrong_splits:
            assert torch.equal(after.stored, before.labels)
            assert not torch.equal(after.labels, before.labels)
        else:
            assert after.stored is None
            assert torch.equal(after.labels, before.labels)


def test_train_and_the_validation_rows_cut_from_it_are_noisy_test_is_not():
    plain, data = rf.load("digits"), rf.load("digits", noise="symmetric:0.4")
    compared(plain, data, ("train", "val"))
    wrong = sum(int((split.labels != split.stored).sum()) for split in (data.train, data.val))
    counts = torch.bincount(torch.cat([plain.train.labels, plain.val.labels])).tolist()
    assert wrong == sum(round(0.4 * count) for count in counts)
    assert any(f"noise='symmetric:0.4': {wrong} of {sum(counts)} labels of train (and of" in note for note in data.notes)
    assert not changed(data)
    assert torch.equal(data.train.first(2).stored, data.train.stored[torch.isin(data.train.rows, data.train.first(2).rows)])
    more = rf.load("digits", noise="symmetric:0.4", val_fraction=0.3)
    both = {
        row: label
        for split in (data.train, data.val)
        for row, label in zip(split.rows.tolist(), split.labels.tolist(), strict=True)
    }
    assert [both[row] for row in more.train.rows.tolist()] == more.train.labels.tolist()


def test_a_stored_validation_split_and_another_source_stay_as_they_are(tmp_path):
    for name, start in (("train", 0), ("val", 100), ("test", 200)):
        parquet(tmp_path / "own" / f"{name}.parquet", [0, 1] * 20, start=start)
    own = str(tmp_path / "own")
    compared(load(own), load(own, SourceOptions(noise="asymmetric:0.25")), ("train",))
    parquet(tmp_path / "other" / "train.parquet", [0, 1] * 20, start=300)
    other = str(tmp_path / "other")
    plain, data = (load(own, SourceOptions(validation=other, noise=noise)) for noise in (None, "symmetric:0.25"))
    compared(plain, data, ("train",))
    assert any("of train are changed, those of validation and test are not" in note for note in data.notes)


def test_dropped_rows_change_no_other_label(tmp_path):
    rows = rf.load("digits").train.rows.tolist()
    pq.write_table(pa.table({"index": rows, "score": [float(row) for row in rows]}), tmp_path / "s.parquet")
    whole, rest = (rf.load("digits", noise="symmetric:0.4", drop=d) for d in (None, f"{tmp_path}/s.parquet:0.5"))
    assert len(rest.train) < len(whole.train)
    here = torch.isin(whole.train.rows, rest.train.rows)
    assert torch.equal(whole.train.labels[here], rest.train.labels)


def test_labels_of_a_file_keep_the_stored_ones_beside_them(tmp_path):
    parquet(tmp_path / "train.parquet", [0, 1, 2] * 10)
    (tmp_path / "votes.csv").write_text("y\n" + "0\n1\n1\n" * 10)
    data = load(str(tmp_path), SourceOptions(labels=f"{tmp_path}/votes.csv:y", small_classes="drop"))
    assert data.classes == ("0", "1")
    assert data.train.stored.tolist() == [(0, 1, -1)[row % 3] for row in data.train.rows.tolist()]
    assert data.test.stored is None


@pytest.mark.parametrize(
    "text", ["symmetric", "symmetric:0", "symmetric:1", "asymmetric:nan", "uniform:0.4", "symmetric:", "0.4"]
)
def test_noise_that_cannot_be_is_refused_at_both_doors(capsys, tmp_path, text):
    with pytest.raises(InputError, match=rf"^noise is '{text}': it must be symmetric:P or asymmetric:P"):
        rf.load("digits", noise=text)
    assert main(["distill", "--data", "digits", "--noise", text, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert f"--noise {text}: it must be" in said
    assert said.count("\n") == 1


def test_noise_on_labels_of_a_file_and_on_soft_labels_is_refused():
    with pytest.raises(InputError, match=r"^noise is 'symmetric:0.4': it is for .*labels='f.csv:y' puts others in their place"):
        rf.load("digits", noise="symmetric:0.4", labels="f.csv:y")
    plain = rf.load("digits")
    small = rf.distill(plain, "dm", ipc=1, iterations=1, width=4).set
    soft = type(small)(**{**vars(small), "soft": torch.full((10, 10), 0.1)})
    with pytest.raises(InputError, match="noise: the set has soft labels"):
        rf.load(soft, test=plain, noise="symmetric:0.4")
    assert rf.load(small, test=plain, noise="symmetric:0.4").train.stored.tolist() == list(range(10))


def test_a_run_records_its_noise_repeats_and_refuses_another(capsys, tmp_path):
    out = tmp_path / "run"
    words = ["distill", "--data", "digits", "--method", "random", "--ipc", "2", "--width", "4", "--nets", "1", "--epochs", "1"]
    words += ["--threads", "1", "--quiet", "--out", str(out)]
    assert main([*words, "--noise", "symmetric:0.4"]) == 0
    config = read_json(out / "config.json")
    assert config["arguments"]["noise"] == config["resolved"]["data"]["options"]["noise"] == "symmetric:0.4"
    assert main(["repeat", str(out)]) == 0
    capsys.readouterr()
    for other in (["--noise", "symmetric:0.2"], []):
        assert main([*words, *other, "--resume"]) == 2
        assert "noise" in capsys.readouterr().err


def test_a_run_without_noise_records_what_it_always_did(tmp_path):
    run = rf.select("digits", "random", ipc=1, nets=1, epochs=1, width=4, out=tmp_path / "run")
    assert "noise" not in read_json(run.folder / "config.json")["resolved"]["data"]["options"]


def test_scores_have_the_stored_label_beside_the_noisy_one():
    data = rf.load("digits", noise="symmetric:0.4")
    table = rf.score(data, folds=2, epochs=1, width=4, terms="explicit")
    assert torch.equal(table.stored, data.train.stored)
    assert table.facts["noise"] == "symmetric:0.4"
