"""CutMix against loops over pixels, MixUp against its formula, and the draws against their distribution."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from evaluate_fixtures import rng

from refluence.evaluate import mixing, protocols, train
from refluence.evaluate.mixing import Mix, draw
from refluence.models import build


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
@pytest.mark.parametrize("seed", range(6))
def test_cutmix_is_a_loop_over_pixels(size, seed):
    x = torch.randn(4, 3, *size, generator=generator(99))
    mix = draw("cutmix", 1.0, 1.0, 4, size, generator(seed))
    top, bottom, left, right = mix.box
    expected, taken = x.clone(), 0
    for i in range(4):
        for row in range(size[0]):
            for column in range(size[1]):
                if top <= row < bottom and left <= column < right:
                    expected[i, :, row, column] = x[mix.partner[i], :, row, column]
                    taken += i == 0
    before = x.clone()
    assert torch.equal(mix.apply(x), expected)
    assert torch.equal(x, before), "mixed in place"
    assert mix.share == pytest.approx(1 - taken / math.prod(size))
    assert sorted(mix.partner.tolist()) == [0, 1, 2, 3]


def test_boxes_are_those_of_the_source():
    """Side floor(side sqrt(1 - lambda)) // 2 to both sides of a uniform centre, cut off at the border."""
    seen = set()
    for seed in range(200):
        g = generator(seed)
        torch.rand((), generator=g)
        share = float(torch.rand((), generator=g, dtype=torch.float64))  # Beta(1, 1)
        torch.randperm(3, generator=g)
        half = int(6 * math.sqrt(1 - share)) // 2
        centres = [int(torch.randint(6, (), generator=g)) for _ in range(2)]
        expected = tuple(edge for c in centres for edge in (max(c - half, 0), min(c + half, 6)))
        mix = draw("cutmix", 1.0, 1.0, 3, (6, 6), generator(seed))
        assert mix.box == expected
        seen.update(centres)
    assert seen == set(range(6))


def test_mixup_is_its_formula_and_its_shares_are_beta():
    x = torch.randn(5, 1, 2, 2, generator=generator(1))
    mix = draw("mixup", 1.0, 0.8, 5, (2, 2), generator(3))
    for i in range(5):
        torch.testing.assert_close(mix.apply(x)[i], mix.share * x[i] + (1 - mix.share) * x[mix.partner[i]])
    shares = torch.tensor([draw("mixup", 1.0, 0.8, 2, (2, 2), generator(s)).share for s in range(4000)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.005)  # of Beta(a, a)


def test_how_often():
    drawn = [draw("cutmix", 0.5, 1.0, 2, (4, 4), generator(seed)) is not None for seed in range(1000)]
    assert sum(drawn) / 1000 == pytest.approx(0.5, abs=0.05)
    g = generator(5)
    before = g.get_state()
    assert draw("none", 1.0, 1.0, 2, (4, 4), g) is None
    assert torch.equal(g.get_state(), before), "a protocol without mixing draws nothing"


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_the_loss_is_mixed_by_area(problem, kind, monkeypatch):
    """One epoch of one batch: the first loss is that of the fresh network on the mixed images."""
    images, labels, _, spec = problem
    mix = Mix(torch.arange(29, -1, -1), 0.75, (0, 4, 0, 4))
    monkeypatch.setattr(mixing, "draw", lambda *_: mix)
    soft = torch.rand(30, 3, generator=generator(2)).softmax(1)
    own = labels if kind == "hard" else soft
    protocol = dataclasses.replace(protocols()["dc"], augmentation_grey="none", mix="cutmix").with_(epochs=1)
    _, curve = train(images, own, spec, protocol, rng, 0)
    order = torch.randperm(30, generator=rng("evaluation-epoch", 0))
    x, y = images[order], own[order]
    x = torch.where(torch.arange(8)[:, None].lt(4) & torch.arange(8).lt(4), x.flip(0), x)
    logits = build(spec, rng("evaluation-network", 0))(x)
    expected = 0.75 * F.cross_entropy(logits, y) + 0.25 * F.cross_entropy(logits, y.flip(0))
    torch.testing.assert_close(curve[0], expected.detach())
