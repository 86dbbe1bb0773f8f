"""CutMix against loops over pixels, MixUp against its formula, and the draws against their distribution."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from evaluate_fixtures import rng

from refluence.evaluate import mixing, protocols, train
from refluence.evaluate.mixing import mix
from refluence.models import build


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_cutmix_is_a_loop_over_pixels(size):
    """Every pixel is its own or the partner's, the same ones in every image, and the share counts them."""
    for seed in range(20):
        x = torch.randn(4, 3, *size, generator=generator(99))
        before = x.clone()
        mixed, partner, share = mix("cutmix", 1.0, 1.0, x, generator(seed))
        assert torch.equal(x, before), "mixed in place"
        own = [
            (row, column)
            for row in range(size[0])
            for column in range(size[1])
            if all(torch.equal(mixed[i, :, row, column], x[i, :, row, column]) for i in range(4))
        ]
        for i in range(4):
            for row in range(size[0]):
                for column in range(size[1]):
                    source = i if (row, column) in own else int(partner[i])
                    assert torch.equal(mixed[i, :, row, column], x[source, :, row, column])
        if not torch.equal(partner, torch.arange(4)):
            assert share == pytest.approx(len(own) / (size[0] * size[1]))


def test_mixup_is_its_formula_and_its_shares_are_beta():
    x = torch.randn(5, 1, 2, 2, generator=generator(1))
    mixed, partner, share = mix("mixup", 1.0, 0.8, x, generator(3))
    for i in range(5):
        torch.testing.assert_close(mixed[i], share * x[i] + (1 - share) * x[partner[i]])
    shares = torch.tensor([mix("mixup", 1.0, 0.8, x, generator(s))[2] for s in range(4000)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.005)  # of Beta(a, a)


def test_how_often():
    x = torch.zeros(2, 1, 4, 4)
    drawn = [mix("cutmix", 0.5, 1.0, x, generator(seed))[1] is not None for seed in range(1000)]
    assert sum(drawn) / 1000 == pytest.approx(0.5, abs=0.05)
    g = generator(5)
    before = g.get_state()
    same, partner, share = mix("none", 1.0, 1.0, x, g)
    assert (same is x, partner, share) == (True, None, 1.0)
    assert torch.equal(g.get_state(), before), "a protocol without mixing draws nothing"


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_the_loss_is_mixed_by_area(problem, kind, monkeypatch):
    """One epoch of one batch: the first loss is that of the fresh network on the mixed images."""
    images, labels, _, spec = problem
    box = torch.arange(8)[:, None].lt(4) & torch.arange(8).lt(4)
    backwards = torch.arange(29, -1, -1)
    monkeypatch.setattr(mixing, "mix", lambda kind, p, a, x, g: (torch.where(box, x.flip(0), x), backwards, 0.75))
    soft = torch.rand(30, 3, generator=generator(2)).softmax(1)
    own = labels if kind == "hard" else soft
    protocol = dataclasses.replace(protocols()["dc"], augmentation_grey="none", mix="cutmix").with_(epochs=1)
    _, curve = train(images, own, spec, protocol, rng, 0)
    order = torch.randperm(30, generator=rng("evaluation-epoch", 0))
    x, y = images[order], own[order]
    logits = build(spec, rng("evaluation-network", 0))(torch.where(box, x.flip(0), x))
    expected = 0.75 * F.cross_entropy(logits, y) + 0.25 * F.cross_entropy(logits, y.flip(0))
    torch.testing.assert_close(curve[0], expected.detach())
