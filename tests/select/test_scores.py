"""EL2N, loss and influence as selections: the formulas word for word, the right end of the right ranking."""

import math

import pytest
import torch

from refluence.condense.dc import METHOD as DC
from refluence.condense.scoring import influence as influence_of
from refluence.condense.scoring import points
from refluence.models import ModelSpec
from refluence.seeds import streams
from refluence.select import el2n, influence, loss
from refluence.select.pretrain import pretrain
from refluence.select.random import METHOD as RANDOM
from refluence.select.young_networks import NETS, losses, mean_over_networks
from support.tiny_data import tiny_dataset

SPEC = ModelSpec("convnet1", (3, 8, 8), 3, width=4)
COUNTS = (4, 3, 2)


def each_network(data, rng, steps):
    """Probabilities (N, K) of the same networks, image by image."""
    for index in range(NETS):
        net = pretrain(data, SPEC, rng, "cpu", steps, "early", index)
        with torch.no_grad():
            logits = torch.cat([net(data.pixels(data.train, torch.tensor([i]))) for i in range(len(data.train))])
        yield logits.double().exp() / logits.double().exp().sum(1, keepdim=True)


def literal(data, rng, steps, one):
    total = [0.0] * len(data.train)
    for probabilities in each_network(data, rng, steps):
        for j, (p, y) in enumerate(zip(probabilities.tolist(), data.train.labels.tolist(), strict=True)):
            total[j] += one(p, y) / NETS
    return torch.tensor(total, dtype=torch.float64)


def error_norm(p, y):
    return math.sqrt(sum((value - (k == y)) ** 2 for k, value in enumerate(p)))


def ends(scores, labels, chosen, largest):
    """Whether the chosen of each class are its largest (smallest) scores, in order."""
    for c, count in enumerate(COUNTS):
        mine = scores[chosen[labels[chosen] == c]]
        best = scores[labels == c].sort(descending=largest).values[:count]
        torch.testing.assert_close(mine, best, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("measure", "one"), [(el2n.error_norm, error_norm), (losses, lambda p, y: -math.log(p[y]))], ids=["el2n", "loss"]
)
def test_scores_are_the_mean_of_the_formula_over_the_networks(measure, one):
    data, rng = tiny_dataset(), streams(0)
    found = mean_over_networks(measure, data, SPEC, rng, "cpu", 5)
    torch.testing.assert_close(found, literal(data, rng, 5, one), rtol=1e-5, atol=1e-7)
    assert found.std() > 0


def test_each_selection_takes_its_end():
    data, rng = tiny_dataset(), streams(0)
    y = data.train.labels
    hard = literal(data, rng, 5, error_norm)
    ends(hard, y, el2n.select(data, COUNTS, SPEC, rng, "cpu", 5), largest=True)
    ends(hard, y, el2n.select(data, COUNTS, SPEC, rng, "cpu", 5, easiest=True), largest=False)
    easy = literal(data, rng, 5, lambda p, c: -math.log(p[c]))
    ends(easy, y, loss.select(data, COUNTS, SPEC, rng, "cpu", 5), largest=False)


def test_influence_is_that_of_dc_at_the_images_that_random_chooses():
    data, rng = tiny_dataset(), streams(0)
    start = RANDOM.select(data, COUNTS, SPEC, rng)
    images, labels = data.pixels(data.train, start), data.train.labels[start]
    settings = DC.settings(4, "cpu")
    _, table, _ = influence_of(images, labels, DC, settings, data, SPEC, rng, nets=3, whole=True)
    ends(table.raw, data.train.labels, influence.select(data, COUNTS, SPEC, rng), largest=True)
    ends(table.raw, data.train.labels, influence.select(data, COUNTS, SPEC, rng, easiest=True), largest=False)
    assert table.visits.tolist() == [influence.STEPS] * len(data.train)


@pytest.mark.parametrize(("steps", "expected"), [(1, 1), (3, 3), (8, 8), (9, 8)])
def test_steps_bound_the_points_at_which_influence_is_taken(steps, expected, monkeypatch):
    made = []

    def spy(*arguments, nets, **named):
        made.append(len(points(nets, arguments[3].outer)))
        return influence_of(*arguments, nets=nets, **named)

    monkeypatch.setattr(influence, "influence", spy)
    influence.select(tiny_dataset(), (4, 4, 4), SPEC, streams(0), "cpu", steps)
    assert made == [expected]
