"""K-center greedy against a literal transcription that looks at every pair, and against its promise."""

from itertools import combinations

import pytest
import torch

from refluence.models import ModelSpec
from refluence.seeds import streams
from refluence.select import kcenter
from refluence.select.kcenter import farthest_first
from refluence.select.pretrain import embed, pretrain
from support.tiny_data import tiny_dataset


def points(n: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 3


def literal(x: torch.Tensor, count: int) -> list[int]:
    """Again and again the point whose nearest center is farthest, all distances computed anew."""
    centers = [min(range(len(x)), key=lambda i: float((x[i] - x.mean(0)).norm()))]
    while len(centers) < count:
        left = [i for i in range(len(x)) if i not in centers]
        centers.append(max(left, key=lambda i: min(float((x[i] - x[c]).norm()) for c in centers)))
    return centers


def radius(x: torch.Tensor, centers) -> float:
    return max(min(float((p - x[c]).norm()) for c in centers) for p in x)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_equals_the_literal_one(seed):
    x = points(14, 3, seed)
    assert farthest_first(x, 14).tolist() == literal(x, 14)
    assert farthest_first(x.float(), 4).tolist() == literal(x, 4)


@pytest.mark.parametrize("seed", range(3))
def test_radius_is_at_most_twice_the_best_one(seed):
    x = points(9, 2, seed)
    best = min(radius(x, centers) for centers in combinations(range(9), 3))
    assert best <= radius(x, farthest_first(x, 3).tolist()) <= 2 * best + 1e-12


def test_copies_are_chosen_once_each_and_nothing_is_nothing():
    same = torch.ones(4, 2)
    assert sorted(farthest_first(same, 9).tolist()) == [0, 1, 2, 3]
    assert farthest_first(same[:0], 2).tolist() == []


def test_each_class_is_covered_in_the_embedding_of_the_network_that_herding_trains():
    data, spec, rng = tiny_dataset(), ModelSpec("convnet1", (3, 8, 8), 3, width=4), streams(1)
    net = pretrain(data, spec, rng, "cpu", 4)
    expected = []
    for c, count in enumerate((3, 2, 4)):
        members, features = embed(net, data, c, "cpu", "test")
        expected += members[literal(features.double(), count)].tolist()
    assert kcenter.select(data, (3, 2, 4), spec, rng, "cpu", 4).tolist() == expected
