"""Every loop that trains or runs a network gives the same bits again when the network draws random numbers of its own."""

import importlib

import pytest
import torch

from refluence.condense.scoring import influence
from refluence.evaluate import Protocol, evaluate
from refluence.models import ModelSpec
from refluence.seeds import streams
from refluence.select import el2n, forgetting, herding
from support.noisy_nets import Noise, noisy, stir, stirred
from support.small_methods import METHODS, SPEC, run, small, start
from support.tiny_data import tiny_dataset

EVALUATED = ModelSpec("convnet1", (3, 8, 8), 3, 4)


@pytest.fixture(autouse=True)
def every_network_is_noisy(monkeypatch):
    for place in ("condense.networks", "evaluate.train", "select.pretrain", "select.forgetting"):
        monkeypatch.setattr(importlib.import_module(f"refluence.{place}"), "build", noisy)


def twice(work):
    """What `work(seed)` gives from two global states, and for another seed; the caller's state stays."""
    found = []
    for number, seed in enumerate((0, 0, 1)):
        stir(number)
        before = stirred()
        found.append(work(seed))
        assert stirred() == before
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_distillation_that_is_stopped_and_resumed(name):
    stir(0)
    whole, before = run(name, iterations=4, cluster_every=0), stirred()
    stir(1)
    part = start(name, iterations=4, cluster_every=0)
    for _ in zip(range(2), part.steps(), strict=False):
        stir(2)
    state = {k: v.clone() for k, v in part.state().items()}
    stir(3)
    resumed = start(name, iterations=4, cluster_every=0)
    resumed.restore(state)
    list(resumed.steps())
    assert torch.equal(resumed.images, whole.images)
    stir(0)
    assert stirred() == before
    assert any(isinstance(module, Noise) and module.training for module in whole.net.modules())


def test_an_evaluation_network_by_network():
    data = tiny_dataset()
    protocol = Protocol("plain", epochs=3, note="test", lr=0.05)
    images, labels, of_set = data.pixels(data.train), data.train.labels, (data.mean, data.std)

    def work(seed):
        found = evaluate(images, labels, EVALUATED, protocol, data.val, *of_set, streams(seed), 2)
        return found.accuracies, found.curve

    first, again, other = twice(work)
    assert first == again
    assert first[1] != other[1]


@pytest.mark.parametrize("method", [herding, el2n, forgetting], ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_selection(method, monkeypatch):
    data = tiny_dataset()
    if method is not herding:
        monkeypatch.setattr(method, "highest", lambda scores, *_: scores)
    first, again, other = twice(lambda seed: method.select(data, [3, 3, 3], EVALUATED, streams(seed), "cpu", 6).tolist())
    assert first == again
    assert first != other


def test_scores_against_a_distilled_set():
    data, (method, settings) = tiny_dataset((9, 8)), small("dm")
    chosen = torch.cat([data.train.members(c)[:3] for c in range(2)])
    images, labels = data.pixels(data.train, chosen), data.train.labels[chosen]
    first, again, other = twice(
        lambda seed: influence(images, labels, method, settings, data, SPEC, streams(seed), nets=1)[1].raw.tolist()
    )
    assert first == again
    assert first != other
