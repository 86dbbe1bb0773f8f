"""Scores against scikit-learn, in chunks, and without touching the network."""

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score

from refluence.data.dataset import Dataset, Split
from refluence.errors import InputError
from refluence.evaluate import measure, score
from refluence.models import build
from support.tiny_data import MEAN, STD, rng


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_scikit_learn_where_classes_are_unequal(seed):
    weights = torch.tensor([10.0, 3.0, 1.0, 0.0, 1.0])
    labels = torch.multinomial(weights, 90, replacement=True, generator=rng("labels", seed))
    predicted = torch.multinomial(weights.flip(0) + 1, 90, replacement=True, generator=rng("predicted", seed))
    found = measure.from_predictions(labels, predicted)
    assert found.accuracy == pytest.approx(100 * accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(100 * f1_score(labels, predicted, average="macro", zero_division=0))
    assert found.balanced_accuracy == pytest.approx(
        100 * sum((predicted[labels == c] == c).double().mean() for c in labels.unique()) / len(labels.unique())
    )


def test_balanced_accuracy_equals_scikit_learn():
    labels, predicted = torch.tensor([0, 0, 0, 0, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 0])
    assert measure.from_predictions(labels, predicted).balanced_accuracy == pytest.approx(
        100 * balanced_accuracy_score(labels, predicted)
    )


def test_predictions_use_the_dataset_normalisation_in_chunks(problem, monkeypatch):
    _, _, split, spec = problem
    net = build(spec.with_(norm="batch"), rng("evaluation-network", 0))
    dataset = Dataset("test", ("a", "b", "c"), split, split, split, MEAN, STD)
    net.eval()
    expected = net(dataset.pixels(split)).argmax(1)
    net.train()
    monkeypatch.setattr(measure, "CHUNK_PIXELS", 7 * 64)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert torch.equal(measure.predict(net, split, MEAN, STD), expected)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_an_empty_split_is_refused(problem):
    _, _, split, spec = problem
    empty = Split(split.images[:0], split.labels[:0], split.rows[:0])
    with pytest.raises(InputError, match="empty"):
        score(build(spec, rng("n", 0)), empty, MEAN, STD)


def test_the_accuracy_of_each_class_is_its_recall_and_the_lowest_one_is_named():
    labels = torch.multinomial(torch.tensor([9.0, 3.0, 0.0, 4.0]), 70, replacement=True, generator=rng("labels", 9))
    predicted = torch.multinomial(torch.ones(5), 70, replacement=True, generator=rng("predicted", 9))
    each = measure.per_class(labels, predicted, 5)
    want = recall_score(labels, predicted, labels=[0, 1, 3], average=None)
    assert [each[c] for c in (0, 1, 3)] == pytest.approx((100 * want).tolist())
    assert each[2] is each[4] is None
    lowest = int(want.argmin())
    assert measure.worst_class(each, "abcde") == measure.Worst(each[(0, 1, 3)[lowest]], "abd"[lowest])
    logits = torch.nn.functional.one_hot(predicted, 5).double()
    assert measure.per_class(labels, logits, 5) == each
    assert measure.worst_class((100.0, 0.0, 0.0), ("x", "y", "z")).name == "y"
    with pytest.raises(InputError, match="split is empty"):
        measure.worst_class((None, None), ("x", "y"))
