"""Forgetting events against a literal count over scripted presentations, and against a replayed training."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from refluence.errors import RunError
from refluence.models import ModelSpec, build
from refluence.seeds import streams
from refluence.select import forgetting, pretrain
from refluence.select.forgetting import Forgetting, epochs
from refluence.select.ranking import highest
from support.tiny_data import tiny_dataset

SPEC = ModelSpec("convnet1", (3, 8, 8), 3, width=4)


def literal(right: list[bool]) -> float:
    """Events of one instance from its presentations, in order."""
    if not any(right):
        return float("inf")
    return float(sum(a and not b for a, b in pairwise(right)))


def test_counts_are_the_literal_ones_whatever_the_batches_are():
    g = torch.Generator().manual_seed(0)
    right = torch.rand(12, 30, generator=g) < torch.linspace(0, 1, 30)  # presentations x instances, from never to always
    seen = Forgetting(30)
    for row in right:
        for batch in torch.randperm(30, generator=g).split(7):
            seen.see(batch, row[batch])
    found = seen.scores()
    assert found.tolist() == [literal(right[:, j].tolist()) for j in range(30)]
    assert found[0] == torch.inf
    assert found[-1] == 0
    assert len(found[found.isfinite()].unique()) > 3


def test_a_wrong_start_is_no_event():
    seen = Forgetting(1)
    for right in (False, True, True, False, False, True):
        seen.see(torch.tensor([0]), torch.tensor([right]))
    assert seen.scores().tolist() == [1.0]


def test_epochs_show_each_instance_once_and_end_at_the_step(monkeypatch):
    monkeypatch.setattr(forgetting, "BATCH", 4)
    batches = list(epochs(10, 7, streams(0)))
    assert [len(b) for b in batches] == [4, 4, 2, 4, 4, 2, 4]
    assert sorted(torch.cat(batches[:3]).tolist()) == sorted(torch.cat(batches[3:6]).tolist()) == list(range(10))
    assert batches[0].tolist() != batches[3].tolist()
    assert list(epochs(10, 0, streams(0))) == []


def test_the_most_forgotten_of_a_replayed_training_are_chosen(monkeypatch):
    """Correctness is read before each step, with a training loop of its own."""
    monkeypatch.setattr(forgetting, "BATCH", 16)
    monkeypatch.setattr(pretrain, "LR", 0.3)  # restless, so that there are events
    data, rng = tiny_dataset(), streams(3)
    noisy = data.train.labels.clone()  # every third label is another's, so that there is something to forget
    noisy[::3] = noisy[::3].roll(1)
    data = replace(data, train=replace(data.train, labels=noisy))
    x, y = data.pixels(data.train), data.train.labels
    net = build(SPEC, rng("forgetting-network", 0))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9, weight_decay=5e-4)
    history: list[list[bool]] = [[] for _ in y]
    for batch in epochs(len(y), 30, rng):
        logits = net(x[batch])
        for j, said in zip(batch.tolist(), logits.argmax(1).tolist(), strict=True):
            history[j].append(said == int(y[j]))
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, y[batch]).backward()
        optimiser.step()
    scores = torch.tensor([literal(own) for own in history])
    assert len(scores.unique()) > 2
    for easiest in (False, True):
        chosen = forgetting.select(data, (4, 3, 2), SPEC, rng, "cpu", 30, easiest)
        for c, count in enumerate((4, 3, 2)):
            own = sorted(scores[y == c].tolist(), reverse=not easiest)
            assert scores[chosen[y[chosen] == c]].tolist() == own[:count]


def test_ties_are_drawn_and_not_taken_in_order():
    data = tiny_dataset()
    same = torch.zeros(len(data.train))
    drawn = {tuple(highest(same, data, (2, 2, 2), streams(seed), "test").tolist()) for seed in range(5)}
    assert len(drawn) > 1
    with pytest.raises(RunError, match="test: 1 of 46 scores are not numbers"):
        highest(same.index_fill(0, torch.tensor([3]), torch.nan), data, (2, 2, 2), streams(0), "test")
