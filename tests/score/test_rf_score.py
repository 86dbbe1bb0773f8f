"""`rf.score`: a function, a trained network, a distilled set; what it writes is what `refluence score` writes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import refluence as rf
from refluence.cli import main
from refluence.fields import settings_of
from refluence.options import ScoreOptions
from refluence.score.settings import RISKS

QUICK = {"folds": 2, "epochs": 1, "width": 4, "curvature": "identity", "threads": 1}


@pytest.fixture(scope="module")
def data():
    return rf.load("digits")


def flat(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


def test_a_function_makes_the_networks_of_the_folds(data):
    first, again = (rf.score(data, flat, folds=2, epochs=1, curvature="identity", damping=0.5) for _ in range(2))
    assert len(first) == len(data.train)
    assert sorted(first.fold.unique().tolist()) == [0, 1]
    assert torch.equal(first.score, again.score)
    assert first.facts["model"] == "flat()"
    ends = first.most_harmful(3), first.most_helpful(3)
    assert float(ends[0].score.min()) > float(ends[1].score.max())


def test_the_default_weights_are_the_sigmoid_of_the_scores_by_their_mad(data):
    table = rf.score(data, flat, folds=2, epochs=1, curvature="identity", damping=0.5)
    score = table.score.numpy()
    spread = 1.4826 * np.sort(np.abs(score - np.sort(score)[(len(score) - 1) // 2]))[(len(score) - 1) // 2]
    expected = 2 / (1 + np.exp(np.clip(score / spread, -2, 2)))
    np.testing.assert_allclose(table.weight.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(table.weights(data).numpy(), expected, rtol=1e-6)
    assert "standardise=mad" in table.facts["weights"]


def test_a_trained_network_scores_every_row_and_stays_as_it_is(data, recwarn):
    torch.manual_seed(0)  # of a network that guesses; one by chance in three does not
    net = flat(data.shape, len(data.classes)).train()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    table = rf.score(data, net, curvature="identity")
    assert table.fold is None
    assert len(table) == len(data.train)
    assert net.training
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert any("Sequential() may be misread" in str(each.message) for each in recwarn), "it guesses"
    with torch.no_grad():
        logits = net(data.pixels(data.train))
    torch.testing.assert_close(table.loss, nn.functional.cross_entropy(logits, table.label, reduction="none").double())


def test_what_it_writes_is_what_the_command_writes(data, tmp_path):
    flags = [word for name, value in QUICK.items() for word in (f"--{name}", str(value))]
    assert main(["score", "--data", "digits", *flags, "--quiet", "--out", str(tmp_path / "command.parquet")]) == 0
    table = rf.score("digits", **QUICK, out=tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["scores.csv", "scores.html", "scores.parquet"]
    ours, theirs = (rf.ScoreTable.load(path) for path in (tmp_path / "run", tmp_path / "command.parquet"))
    for name, column in theirs.arrays().items():
        assert (ours.arrays()[name] == column).all(), name
    assert ours.facts == theirs.facts == dict(table.facts)
    again = rf.score("digits", **QUICK, out=tmp_path / "run" / "scores.parquet")
    assert torch.equal(again.score, table.score)
    with pytest.raises(rf.InputError, match=r"crossfit.epochs is 1 there, 2 here"):
        rf.score("digits", **{**QUICK, "epochs": 2}, out=tmp_path / "run")


def test_a_run_is_scored_against_its_set_and_has_its_own_scores(data, tmp_path):
    run = rf.distill(data, "dm+influence", ipc=1, iterations=2, width=4)
    table = rf.score(data, distilled=run, nets=1, out=tmp_path / "at_set.parquet")
    with pytest.raises(rf.InputError, match="is there already: choose another file"):
        rf.score(data, distilled=run, nets=2, out=tmp_path / "at_set.parquet")
    assert len(table) == len(data.train)
    assert table.facts["kind"] == "distilled"
    assert set(run.scores.index.tolist()) <= set(table.index.tolist())
    assert rf.distill(data, "dm", ipc=1, iterations=1, width=4).scores is None
    with pytest.raises(rf.InputError, match="random, which has no objective to score against"):
        rf.score(data, distilled=rf.select(data, "random", ipc=1))


def test_a_solve_that_stops_early_is_said(data, capsys):
    table = rf.score(data, folds=2, epochs=1, width=4, damping=1e-7, progress=True)
    assert not table.facts["converged"]
    said = capsys.readouterr().err
    assert "the curvature solve stopped at a relative residual of " in said
    assert "network 2 of 2: " in said


def test_no_group_is_in_two_folds(data):
    groups = torch.arange(len(data.train)) // 4
    table = rf.score(replace(data, train=replace(data.train, groups=groups)), folds=3, epochs=1, width=4, terms="explicit")
    folds = {(group, fold) for group, fold in zip(groups.tolist(), table.fold.tolist(), strict=True)}
    assert len(folds) == len(groups.unique())
    with pytest.raises(rf.InputError, match="all training rows of class '0' are in one group, which stays together"):
        rf.score(replace(data, train=replace(data.train, groups=data.train.labels)), folds=3)


def test_the_risks_that_may_be_asked_for_are_those_that_there_are():
    assert settings_of(ScoreOptions)["risk"].choices == tuple(RISKS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": nn.Linear(64, 10), "folds": 3}, "folds 3 means nothing with a network that is trained already"),
        ({"model": nn.Linear(64, 10)}, "Linear"),
        ({"epoch": 3}, "score.. has no option 'epoch': did you mean epochs"),
        ({"pixels": "unit"}, "pixels unit is for a network that was trained elsewhere"),
        ({"damping": "much"}, "damping much: expected a number"),
        ({"weights": "influence:where=inside"}, "where means nothing here"),
        ({"folds": 200}, "class '.' has only"),
    ],
)
def test_what_cannot_be_scored(data, options, expected):
    with pytest.raises(rf.InputError, match=expected):
        rf.score(data, **options)


class Normalised(torch.utils.data.Dataset):
    """Images that a user's transform has normalised, as torchvision's do."""

    def __init__(self, kind):
        draw = torch.Generator().manual_seed(0)
        self.labels = (torch.arange(40) % 2).tolist()
        self.images = torch.randint(0, 256, (40, 1, 4, 4), generator=draw, dtype=torch.uint8)
        self.images = self.images if kind is torch.uint8 else (self.images.float() / 255 - 0.3) / 0.2

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


@pytest.mark.filterwarnings("ignore:.*may be misread")
@pytest.mark.parametrize(("kind", "pixels"), [(torch.float32, "unit"), (torch.uint8, "data")])
def test_a_trained_network_gets_the_floats_that_it_was_trained_on(kind, pixels, capsys):
    source, net = Normalised(kind), flat((1, 4, 4), 2).eval()
    data = rf.load(source)
    given = {"curvature": "identity", "terms": "explicit"}
    table = rf.score(data, net, progress=True, **given)
    assert torch.equal(table.loss, rf.score(data, net, pixels=pixels, **given).loss)
    seen = source.images[table.index] if kind is torch.float32 else data.pixels(data.train)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(net(seen), table.label, reduction="none")
    torch.testing.assert_close(table.loss.float(), loss, rtol=1e-4, atol=1e-6)
    words = "as they came: pixels='data' normalises" if kind is torch.float32 else "normalised by mean 0"
    assert words in capsys.readouterr().err
