"""Weights that are known before the run: the distance to the weighted mean, against the definition in float64."""

import pytest
import torch

from refluence.condense.loop import Distillation
from refluence.condense.real_side import of_mean_one
from refluence.errors import InputError
from refluence.influence.weighting import Weighting
from refluence.seeds import streams
from support.small_methods import METHODS, SPEC, in_float64, small, wide

BY_SCORES = Weighting("scores", by="score", terms="auto")


def begun(name, data, weights, **changes):
    method, settings = small(name, **changes)
    kind = Weighting() if weights is None else BY_SCORES
    return Distillation(method, settings, kind, data, SPEC, streams(0), weights=weights)


def test_dm_matches_the_weighted_mean_of_the_embeddings(monkeypatch):
    in_float64(monkeypatch)
    data = wide()
    weights = torch.rand(len(data.train), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    work = begun("dm", data, weights, augmentation="", iterations=1)
    seen, match = [], work.real.match
    work.real.match = lambda *given: (seen.append(found) or found for found in match(*given))
    net = work.net
    next(work.steps())
    for found in seen:
        batch = found.batch
        omega = weights[batch.positions] / weights[batch.positions].mean()
        with torch.no_grad():
            mean = (omega[:, None] * net.features(batch.x)).mean(0)
            own = net.features(batch.shown[0]).mean(0)
        assert float(found.distance) == pytest.approx(float((mean - own).square().sum()), rel=1e-9)
        assert torch.allclose(found.omega.double(), omega)


@pytest.mark.parametrize("name", METHODS)
def test_equal_weights_are_the_method_itself_and_others_are_not(name, monkeypatch):
    in_float64(monkeypatch)
    data = wide()
    count = len(data.train)
    plain, equal = (begun(name, data, weights) for weights in (None, torch.full((count,), 3.0, dtype=torch.float64)))
    other = begun(name, data, torch.arange(1.0, count + 1, dtype=torch.float64))
    for work in (plain, equal, other):
        list(work.steps())
    assert torch.allclose(equal.images, plain.images, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(other.images, plain.images, rtol=1e-6, atol=1e-8)


def test_weights_are_of_mean_one_and_nothing_but_zeros_weigh_the_same():
    assert of_mean_one(torch.tensor([1.0, 3.0])).tolist() == [0.5, 1.5]
    assert of_mean_one(torch.zeros(3)).tolist() == [1, 1, 1]


def test_the_kind_and_the_weights_go_together():
    data = wide()
    for weighting, weights in ((Weighting(), torch.ones(len(data.train))), (BY_SCORES, None)):
        method, settings = small("dm")
        with pytest.raises(InputError, match="weights of the kind scores need the weights of a table"):
            Distillation(method, settings, weighting, data, SPEC, streams(0), weights=weights)
