"""The weigher against the equations of its docstring, one instance and one visit at a time, in float64."""

from __future__ import annotations

import doctest
import math

import pytest
import torch
from torch import Tensor

from refluence.errors import InputError
from refluence.influence import RunningInfluence, Weigher, Weighting, bag_weights, bags, weigher, weights
from refluence.seeds import streams

N, LABELS = 24, torch.arange(24) % 2
NOBODY = torch.Generator()


def standard(values: list[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
    return [(v - mean) / deviation for v in values]


def softmax(values: list[float], tau: float) -> list[float]:
    powers = [math.exp(v / tau) for v in values]
    return [len(values) * p / math.fsum(powers) for p in powers]


class Literal:
    """The equations with dictionaries: histories of standardised scores, last weights."""

    def __init__(self, weighting: Weighting, steps: int):
        self.w, self.steps = weighting, steps
        self.history: dict[int, list[float]] = {}
        self.last: dict[int, float] = {}

    def mean(self, j: int) -> float:
        return math.fsum(self.history[j]) / len(self.history[j]) if j in self.history else 0.0

    def weigh(self, positions: list[int], scores: list[float] | None, step: int) -> dict[int, float] | None:
        if scores is not None:
            for j, s in zip(positions, standard(scores), strict=True):
                self.history.setdefault(j, []).append(s)
        if step < self.w.warmup * self.steps:
            return None
        if self.w.bag == "all":
            seen = sorted(self.history)
            every = dict(zip(seen, softmax(standard([self.mean(j) for j in seen]), self.w.tau), strict=True))
            return {j: every.get(j, 1.0) for j in positions}
        means = [self.mean(j) for j in positions]
        value = means
        if scores is not None:
            value = [self.w.memory * m + (1 - self.w.memory) * s for m, s in zip(means, standard(scores), strict=True)]
        omega = softmax(standard(value), self.w.tau)
        if self.w.carry:
            powered = [o * self.last.get(j, 1.0) ** self.w.carry for j, o in zip(positions, omega, strict=True)]
            omega = [len(omega) * p / math.fsum(powered) for p in powered]
            self.last |= dict(zip(positions, omega, strict=True))
        return dict(zip(positions, omega, strict=True))


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(3)
    return [(torch.randperm(N, generator=g)[:14], torch.randn(14, generator=g, dtype=torch.float64)) for _ in range(count)]


OVER_TIME = [{}, {"refresh": 2}, {"warmup": 0.5}, {"refresh": 3, "warmup": 0.2, "tau": 0.3}]
IN_BATCH = [{"memory": 0.7}, {"carry": 0.6}]  # refused with bag=all


@pytest.mark.parametrize(
    ("bag", "options"),
    [(bag, options) for bag in ("class", "batch", "all") for options in OVER_TIME + (IN_BATCH if bag != "all" else [])],
    ids=str,
)
def test_weights_follow_the_equations_over_visits(bag, options):
    weighting, steps = Weighting("influence", bag=bag, **options), 6
    ours, literal = Weigher(weighting, RunningInfluence(N), steps), Literal(weighting, steps)
    for step, (positions, drawn) in enumerate(batches(steps)):
        scores = drawn if ours.measures(step) else None
        assert ours.measures(step) == (step % weighting.refresh == 0)
        omega = ours.weigh(positions, scores, step, NOBODY, LABELS[positions] if bag == "class" else None)
        expected: dict[int, float] | None = {}
        for group in (0, 1) if bag == "class" else (None,):
            rows = [i for i, j in enumerate(positions.tolist()) if group is None or j % 2 == group]
            some = None if scores is None else [float(scores[i]) for i in rows]
            found = literal.weigh([int(positions[i]) for i in rows], some, step)
            expected = None if found is None or expected is None else expected | found
        if expected is None:
            assert omega is None
            continue
        wanted = torch.tensor([expected[j] for j in positions.tolist()], dtype=torch.float64)
        torch.testing.assert_close(omega.double(), wanted, rtol=1e-9, atol=1e-9)


def test_one_call_with_labels_is_a_call_for_each_class():
    positions, scores = batches(1)[0]
    together, apart = (Weigher(Weighting("shuffled", carry=0.5), RunningInfluence(N)) for _ in range(2))
    omega = together.weigh(positions, scores, 0, streams(0)("x"), LABELS[positions])
    g = streams(0)("x")
    for c in (0, 1):
        rows = LABELS[positions] == c
        assert torch.equal(omega[rows], apart.weigh(positions[rows], scores[rows], 0, g))
    assert all(torch.equal(t, apart.state()[name]) for name, t in together.state().items())


@pytest.mark.parametrize("kind", ["influence", "flipped", "loss", "difficulty"])
def test_each_kind_is_the_link_of_its_own_scores(kind):
    positions, scores = batches(1)[0]
    omega = Weigher(Weighting(kind), RunningInfluence(N)).weigh(positions, scores, 0, NOBODY)
    s = [-v if kind == "flipped" else v for v in scores.tolist()]
    torch.testing.assert_close(omega, torch.tensor(softmax(standard(s), 1.0), dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", ["uniform", "pruned", "selected"])
def test_kinds_that_measure_nothing_weigh_nothing(kind):
    one = Weigher(Weighting(kind), RunningInfluence(N))
    assert not one.measures(0)
    assert one.weigh(*batches(1)[0], 0, NOBODY) is None
    assert not one.table.visits.any()


def test_a_weigher_that_is_restored_goes_on_with_the_same_bits():
    whole, first, second = (Weigher(Weighting("influence", carry=0.5, memory=0.5), RunningInfluence(N), 4) for _ in range(3))
    drawn = batches(4)
    expected = [whole.weigh(p, s, step, NOBODY) for step, (p, s) in enumerate(drawn)]
    for step, (p, s) in enumerate(drawn[:2]):
        first.weigh(p, s, step, NOBODY)
    second.restore({name: t.clone() for name, t in first.state().items()})
    for step, (p, s) in enumerate(drawn[2:], 2):
        assert torch.equal(second.weigh(p, s, step, NOBODY), expected[step])


def test_wrong_shapes_are_named():
    one = Weigher(Weighting("influence"), RunningInfluence(N))
    with pytest.raises(InputError, match=r"scores must have the shape of positions \(6,\), got \(5,\)"):
        one.weigh(torch.arange(6), torch.zeros(5), 0, NOBODY)
    with pytest.raises(InputError, match=r"labels must have the shape of positions \(6,\), got \(6, 1\)"):
        one.weigh(torch.arange(6), torch.zeros(6), 0, NOBODY, torch.zeros(6, 1))
    assert not one.table.visits.any()


@pytest.mark.parametrize("bag", ["class", "all"])
@pytest.mark.parametrize("kind", ["influence", "loss", "shuffled"])
def test_weights_of_a_split_are_those_of_each_bag(bag, kind):
    g = torch.Generator().manual_seed(1)
    score, loss = torch.randn(2, N, generator=g)
    seen = torch.arange(N) % 5 != 0
    weighting = Weighting(kind, bag=bag)
    omega = bag_weights(score, loss, LABELS, weighting, streams(0), classes=2, seen=seen)
    assert (omega[~seen] == 1).all()
    for number, label in enumerate([None] if bag == "all" else [0, 1]):
        rows = [j for j in range(N) if seen[j] and label in (None, j % 2)]
        value = (loss if kind == "loss" else score)[rows].double()
        assert torch.equal(omega[rows], weights(value, weighting, streams(0)("class-weights", number)))
    everyone = bag_weights(score, loss, LABELS, weighting, streams(0), classes=2)
    assert torch.equal(everyone, bag_weights(score, loss, LABELS, weighting, streams(0), classes=2, seen=seen | True))


def test_the_examples_run():

    for one in (weigher, bags):
        found = doctest.testmod(one)
        assert found.attempted > 0
        assert found.failed == 0


def test_scores_with_a_graph_give_weights_without_one():
    positions, scores = batches(1)[0]
    plain, graph = (Weigher(Weighting("influence", carry=0.5), RunningInfluence(N)) for _ in range(2))
    omega = graph.weigh(positions, scores.clone().requires_grad_(), 0, NOBODY)
    assert not omega.requires_grad
    assert torch.equal(omega, plain.weigh(positions, scores, 0, NOBODY))
