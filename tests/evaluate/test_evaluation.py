"""An evaluation is the mean over fresh networks, whose results do not depend on one another."""

import json

import pytest
import torch

from refluence.evaluate import Protocol, evaluate, score, train
from support.tiny_data import MEAN, STD, rng

PROTOCOL = Protocol("plain", epochs=250, note="test", lr=0.02)


def test_mean_over_networks_and_json(problem):
    images, labels, split, spec = problem
    seen = []
    protocol = PROTOCOL.with_(epochs=5)
    result = evaluate(images, labels, spec, protocol, split, MEAN, STD, rng, 3, progress=lambda i, s, net: seen.append((i, s)))
    assert [i for i, _ in seen] == [0, 1, 2]
    assert result.accuracies == tuple(s.accuracy for _, s in seen)
    assert result.accuracy == pytest.approx(sum(result.accuracies) / 3)
    assert result.macro_f1 == pytest.approx(sum(s.macro_f1 for _, s in seen) / 3)
    assert result.seconds > 0
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["protocol"] == "plain:epochs=5"
    assert (plain["nets"], plain["epochs"], plain["model"]) == (3, 5, "convnet1")
    assert len(plain["curve"]) == 5


def test_network_by_network_equals_all_together(problem):
    images, labels, split, spec = problem
    protocol = PROTOCOL.with_(epochs=4)
    together = evaluate(images, labels, spec, protocol, split, MEAN, STD, rng, 3).accuracies
    alone = [score(train(images, labels, spec, protocol, rng, i)[0], split, MEAN, STD).accuracy for i in (2, 1, 0)]
    assert list(together) == alone[::-1]


def test_compiled_networks_learn_and_judge_alike(problem):
    images, labels, split, spec = problem
    given, compiled = (images, labels, spec, PROTOCOL.with_(epochs=20), split, MEAN, STD, rng, 2), []

    def keep(net):
        compiled.append(torch.compile(net, backend="aot_eager"))
        return compiled[-1]

    plain, other = evaluate(*given), evaluate(*given, compiled=keep)
    assert len(compiled) == 4, "each network is trained and scored as compiled"
    assert other.accuracies == pytest.approx(plain.accuracies, abs=100 / 30)
    assert dict(other.curve) == pytest.approx(dict(plain.curve), rel=1e-3)


def test_learns_and_thins_the_curve(problem):
    images, labels, split, spec = problem
    result = evaluate(images, labels, spec, PROTOCOL, split, MEAN, STD, rng, 1)
    assert result.accuracy > 90
    assert len(result.curve) <= 100
    assert result.curve[-1][0] == 250
    assert result.curve[-1][1] < result.curve[0][1]
    epochs = [epoch for epoch, _ in result.curve]
    assert epochs == sorted(set(epochs))
