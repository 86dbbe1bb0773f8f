import math
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from refluence.errors import InputError, RunError
from refluence.influence.curvature import Curvature, mean_diagonal, operator
from refluence.influence.losses import cross_entropy, expected_error
from refluence.influence.validation import validation_influence
from refluence.models import ModelSpec, build
from refluence.score.crossfit import score_fold, score_model
from refluence.score.folds import assign
from refluence.score.instances import Rows
from refluence.score.settings import CrossFit
from refluence.score.train import train_epochs
from refluence.seeds import streams
from support.noisy_nets import noisy, stir, stirred
from support.tiny_data import split, tiny_dataset

FEW = CrossFit(folds=3, epochs=3, checkpoints=2, batch=8, curvature=Curvature("ggn", damping=1.0))


def network(dataset):
    spec = ModelSpec("convnet1", dataset.shape, len(dataset.classes), width=4)
    return lambda generator: build(spec, generator)


def scored(dataset, settings=FEW, fold=0, seed=0):
    fold_of = assign(dataset.train.labels, settings.folds, streams(seed)("folds", 0))
    return score_fold(dataset, network(dataset), fold_of, fold, settings, streams(seed))


def test_every_row_is_scored_once_and_by_its_own_fold():
    dataset = split(tiny_dataset())
    folds = [scored(dataset, fold=k) for k in range(3)]
    assert torch.equal(torch.cat([f.positions for f in folds]).sort().values, torch.arange(len(dataset.train)))
    for found in folds:
        assert found.score.shape == found.loss.shape == found.suggested.shape == found.positions.shape
        assert 0 <= found.accuracy <= 100
        assert found.damping == 1.0
        assert found.iterations > 0
    again = scored(dataset, fold=1)
    assert torch.equal(again.score, folds[1].score)
    assert torch.equal(again.loss, folds[1].loss)


def test_a_row_is_never_seen_by_the_network_that_scores_it():
    """Other labels on every second held-out row leave the losses of the others as they were, to the last bit."""
    dataset = split(tiny_dataset())
    fold_of = assign(dataset.train.labels, 3, streams(0)("folds", 0))
    changed = (fold_of == 0) & (torch.arange(len(fold_of)) % 2 == 0)
    labels = torch.where(changed, (dataset.train.labels + 1) % 3, dataset.train.labels)
    other = replace(dataset, train=replace(dataset.train, labels=labels))
    one, two = (score_fold(d, network(d), fold_of, 0, FEW, streams(0)) for d in (dataset, other))
    same = ~changed[one.positions]
    assert 0 < int(same.sum()) < len(same)
    assert torch.equal(one.loss[same], two.loss[same])
    assert torch.equal(one.suggested, two.suggested)
    assert not torch.equal(one.loss[~same], two.loss[~same])


def test_all_networks_score_every_row_and_agree_with_the_held_out_one_on_its_own():
    dataset = split(tiny_dataset())
    explicit = replace(FEW, terms="explicit")
    own, every = scored(dataset, explicit), scored(dataset, replace(explicit, networks="all"))
    assert torch.equal(every.positions, torch.arange(len(dataset.train)))
    assert torch.equal(every.suggested[own.positions], own.suggested)
    torch.testing.assert_close(every.loss[own.positions], own.loss)
    moved = every.score[own.positions] - own.score  # another mean is taken off
    torch.testing.assert_close(moved, moved[:1].expand_as(moved), rtol=0, atol=1e-5)


def test_both_terms_are_the_sum_of_the_two():
    dataset = split(tiny_dataset())
    both, explicit, implicit = (scored(dataset, replace(FEW, terms=t)).score for t in ("both", "explicit", "implicit"))
    torch.testing.assert_close(both, explicit + implicit)
    assert float(implicit.abs().max()) > 0
    assert abs(float(explicit.mean())) < 1e-6
    assert float(explicit.max() - explicit.min()) <= 1


@pytest.mark.parametrize("risk", ["error", "cross-entropy"])
def test_a_given_model_gets_the_validation_influence_of_all_rows(risk):
    dataset = split(tiny_dataset())
    net = network(dataset)(torch.Generator().manual_seed(3)).eval()
    settings = replace(FEW, terms="implicit", risk=risk, fit=10_000, weight_decay=0.0)
    found = score_model(dataset, net, settings, streams(0))
    every = [(dataset.pixels(s), s.labels) for s in (dataset.train, dataset.val)]
    function = expected_error if risk == "error" else cross_entropy
    want = validation_influence(net, [every[0]], [every[1]], risk=function, curvature=settings.curvature)
    torch.testing.assert_close(found.score, want.scores, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.loss, cross_entropy(net(every[0][0]), every[0][1]).detach())
    assert torch.equal(found.positions, torch.arange(len(dataset.train)))


def test_automatic_damping_is_relative_to_the_diagonal_and_told():
    dataset = split(tiny_dataset())
    net = network(dataset)(torch.Generator().manual_seed(3)).eval()
    settings = replace(FEW, curvature=Curvature("ggn"), terms="implicit", fit=10_000)
    found = score_model(dataset, net, settings, streams(0))
    rows = [(dataset.pixels(dataset.train), dataset.train.labels)]
    assert found.damping == pytest.approx(20 * mean_diagonal(operator(net, rows, damping=0.0)), rel=1e-3)
    given = score_model(dataset, net, replace(settings, curvature=Curvature("ggn", damping=found.damping)), streams(0))
    torch.testing.assert_close(given.score, found.score)
    plain = score_model(dataset, net, replace(settings, curvature=Curvature("identity")), streams(0))
    assert plain.damping == 1.0
    assert plain.iterations == 0


def test_frozen_parameters_do_not_count():
    """A frozen first layer gives the scores of the head alone."""
    dataset = split(tiny_dataset())
    net = network(dataset)(torch.Generator().manual_seed(3)).eval()
    for name, p in net.named_parameters():
        p.requires_grad_(name.startswith("classifier"))
    settings = replace(FEW, terms="implicit", fit=10_000)
    rows, held = ([(dataset.pixels(s), s.labels)] for s in (dataset.train, dataset.val))
    head = [name for name, _ in net.named_parameters() if name.startswith("classifier")]
    want = validation_influence(net, rows, held, risk=expected_error, curvature=settings.curvature, names=head)
    torch.testing.assert_close(score_model(dataset, net, settings, streams(0)).score, want.scores, rtol=1e-3, atol=1e-5)


def test_a_solve_that_stops_early_is_told():
    dataset = split(tiny_dataset())
    net = network(dataset)(torch.Generator().manual_seed(3)).eval()
    told = [
        score_model(dataset, net, replace(FEW, curvature=Curvature("ggn", damping=1e-4, iterations=n)), streams(0))
        for n in (1, 500)
    ]
    assert [each.converged for each in told] == [False, True]
    assert told[0].residual > 0.01 >= told[1].residual


def test_large_images_are_read_few_at_a_time():
    dataset = tiny_dataset(sizes=(5, 4), shape=(3, 600, 600))
    seen = [len(x) for x, _ in Rows(dataset, dataset.train, torch.arange(9))]
    assert sum(seen) == 9
    assert max(seen) == 1


def test_wrong_labels_rank_as_harmful():
    dataset = split(tiny_dataset(sizes=(80, 70, 60)))
    wrong = torch.rand(len(dataset.train), generator=torch.Generator().manual_seed(5)) < 0.15
    labels = torch.where(wrong, (dataset.train.labels + 1) % 3, dataset.train.labels)
    dataset = replace(dataset, train=replace(dataset.train, labels=labels))
    for terms in ("both", "implicit"):
        settings = replace(FEW, epochs=6, terms=terms)
        score = torch.zeros(len(labels))
        for fold in range(3):
            found = scored(dataset, settings, fold)
            score[found.positions] = found.score
        assert roc_auc_score(wrong, score) > 0.85, terms


def test_expected_error_is_one_minus_the_probability_of_the_label():
    z = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    low = 1 / (1 + math.exp(2))
    want = torch.tensor([0.5, low, 1 - low], dtype=torch.float64)
    torch.testing.assert_close(expected_error(z, torch.tensor([0, 0, 1])), want)


def test_rows_are_read_chunk_by_chunk_and_again():
    dataset = tiny_dataset()
    rows = Rows(dataset, dataset.train, torch.tensor([5, 1, 7]))
    for _ in range(2):
        ((x, y),) = list(rows)
        assert torch.equal(x, dataset.pixels(dataset.train, torch.tensor([5, 1, 7])))
        assert torch.equal(y, dataset.train.labels[[5, 1, 7]])
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"folds": 1}, "folds is 1: it must be a whole number, at least 2"),
        ({"epochs": 0}, "epochs is 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"terms": "none"}, "terms is 'none': choose one of explicit, implicit, both"),
        ({"networks": "some"}, "networks is 'some': choose one of held-out, all"),
        ({"risk": "hinge"}, "risk is 'hinge': choose one of error, cross-entropy"),
    ],
)
def test_bad_numbers(change, says):
    with pytest.raises(InputError, match=says):
        replace(FEW, **change)


def test_training_that_diverges_is_told():
    dataset = split(tiny_dataset())

    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(192, 3)

        def forward(self, x):
            return self.layer(x.flatten(1)) * float("nan")

    fold_of = assign(dataset.train.labels, 3, streams(0)("folds", 0))
    with pytest.raises(RunError, match="training of fold 0 diverged in epoch 1"):
        score_fold(dataset, lambda g: Broken(), fold_of, 0, FEW, streams(0))


@pytest.fixture
def noisy_network():
    spec = ModelSpec("convnet1", (3, 8, 8), 3, width=4)
    return lambda generator: noisy(spec, generator)


def test_noise_in_training_follows_from_seed_and_fold_in_any_order(noisy_network):
    """Folds in one go, in another order, and from the second on, as a run that is resumed; the caller's numbers stay."""
    dataset, settings = split(tiny_dataset()), replace(FEW, terms="explicit", epochs=2)
    fold_of = assign(dataset.train.labels, 3, streams(0)("folds", 0))

    def run(seed, *folds):
        stir(len(folds))
        before = stirred()
        found = {k: score_fold(dataset, noisy_network, fold_of, k, settings, streams(seed)) for k in folds}
        assert stirred() == before
        return {k: (f.score.tolist(), f.loss.tolist()) for k, f in found.items()}

    whole = run(0, 0, 1, 2)
    assert run(0, 2, 0) == {k: whole[k] for k in (2, 0)}
    assert run(0, 1) == {1: whole[1]}
    assert run(1, 1)[1] != whole[1]


def test_between_two_epochs_the_callers_numbers_are_there(noisy_network):
    dataset = split(tiny_dataset())
    rows, weights = torch.arange(len(dataset.train)), []
    for stirs in (True, False):
        net = noisy_network(streams(0)("network", 0))
        stir(5)
        before = stirred()
        for _ in train_epochs(net, dataset, rows, FEW, streams(0), 0, "cpu"):
            assert stirred() == before
            if stirs:
                stir(6)
                before = stirred()
        weights.append(net.classifier.weight.tolist())
    assert weights[0] == weights[1]


def test_a_network_that_is_random_in_eval_mode_is_refused_before_it_trains(monkeypatch):
    dataset = split(tiny_dataset())
    fold_of = assign(dataset.train.labels, 3, streams(0)("folds", 0))
    monkeypatch.setattr("refluence.score.crossfit.train_epochs", lambda *_: pytest.fail("it trains"))
    spec = ModelSpec("convnet1", dataset.shape, 3, width=4)
    with pytest.raises(InputError, match=r"layer 'body.0' \(Noise\)"):
        score_fold(dataset, lambda g: noisy(spec, g, always=True), fold_of, 0, FEW, streams(0))
    with pytest.raises(InputError, match=r"layer 'body.0' \(Noise\)"):
        score_model(dataset, noisy(spec, streams(0)("network", 0), always=True), FEW, streams(0))
