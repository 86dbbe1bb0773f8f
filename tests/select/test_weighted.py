"""Weighted selections against the definition: draws in proportion to weights, herding to a weighted mean."""

import pytest
import torch

from refluence.seeds import streams
from refluence.select import herding, random
from support.tiny_data import tiny_dataset


def test_first_draws_are_in_proportion_to_the_weights():
    weights, counts = torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=torch.float64), torch.zeros(4)
    pairs = torch.zeros(4, 4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4000):
        order = random.weighted_order(weights, generator)
        counts[order[0]] += 1
        pairs[order[0], order[1]] += 1
        assert order[-1] == 0, "what weighs nothing comes last"
    assert (counts / 4000).tolist() == pytest.approx([0, 1 / 8, 2 / 8, 5 / 8], abs=0.03)
    assert float(pairs[3, 2] / pairs[3].sum()) == pytest.approx(2 / 3, abs=0.03), "the next one among those that are left"


def test_random_draws_each_class_by_its_weights():
    data = tiny_dataset()
    weights = torch.zeros(len(data.train))
    heavy = torch.cat([data.train.members(c)[-2:] for c in range(3)])
    weights[heavy] = 1
    found = random.METHOD.select(data, [2, 2, 2], None, streams(0), weights=weights)
    assert sorted(found.tolist()) == sorted(heavy.tolist())


def test_herding_follows_the_weighted_mean():
    g = torch.Generator().manual_seed(0)
    features, weights = torch.randn(12, 5, generator=g).double(), torch.rand(12, generator=g).double()
    mean = sum(w * f for w, f in zip(weights, features, strict=True)) / weights.sum()
    total, taken = torch.zeros(5, dtype=torch.float64), []
    for k in range(4):
        left = [j for j in range(12) if j not in taken]
        taken.append(min(left, key=lambda j: float(((k + 1) * mean - total - features[j]).norm())))
        total += features[taken[-1]]
    assert herding.herd(features, 4, weights).tolist() == taken
    assert herding.herd(features, 4, torch.ones(12)).tolist() == herding.herd(features, 4).tolist()
    assert herding.herd(features, 4, torch.zeros(12)).tolist() == herding.herd(features, 4).tolist()
