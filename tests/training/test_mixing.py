"""CutMix against loops over pixels, MixUp against its formula, and the draws against their distribution."""

import pytest
import torch

from refluence.training.mixing import mix
from support.draws import generator


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
