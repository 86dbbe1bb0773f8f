import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refluence.errors import InputError
from refluence.influence.controls import random_weights, shuffle
from refluence.influence.links import effective_sample_size, entropy, softmax_weights, top_weights
from support.draws import generator


def scores(n=40, seed=0):
    return torch.randn(n, generator=generator(seed), dtype=torch.float64)


def test_shuffle_keeps_the_numbers():
    omega = softmax_weights(scores(), 0.5)
    other = shuffle(omega, generator(1))
    assert not torch.equal(other, omega)
    assert torch.equal(other.sort().values, omega.sort().values)
    assert torch.equal(other, shuffle(omega, generator(1)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 20), st.integers(5, 80))
def test_random_weights_have_the_entropy_or_the_share_of_the_given_ones(seed, tau, n):
    omega = softmax_weights(scores(n, seed), tau)
    even = random_weights(omega, generator(seed + 1))
    assert entropy(even) == pytest.approx(entropy(omega), abs=1e-6)
    assert float(even.mean()) == pytest.approx(1)
    share = random_weights(omega, generator(seed + 1), match="ess")
    assert effective_sample_size(share) == pytest.approx(effective_sample_size(omega), abs=1e-6)


def test_random_weights_know_nothing_of_the_scores():
    s = scores(2000)
    omega = softmax_weights(s, 0.7)
    drawn = torch.stack([random_weights(omega, generator(k)) for k in range(1, 21)])
    correlation = torch.corrcoef(torch.cat([s[None], drawn]))[0, 1:]
    assert float(correlation.mean().abs()) < 3 / math.sqrt(20 * 2000)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], random_weights(omega, generator(1)))


def test_random_weights_of_chosen_instances_and_of_one():
    chosen = top_weights(scores(40), 0.25, 1)  # zero on three quarters: the entropy of ten equal weights
    drawn = random_weights(3 * chosen.float(), generator(1))
    assert drawn.dtype == torch.float32
    assert entropy(drawn) == pytest.approx(math.log(10), abs=1e-5)
    assert float(drawn.mean()) == pytest.approx(3, rel=1e-5)
    alone = random_weights(40 * torch.eye(40)[7], generator(1))
    assert float(alone.max()) == pytest.approx(40)


def test_equal_weights_stay_as_they_are_and_draw_as_much():
    g, other = generator(3), generator(3)
    assert torch.equal(random_weights(torch.ones(9), g), torch.ones(9))
    random_weights(softmax_weights(scores(9), 1.0), other)
    assert torch.equal(g.get_state(), other.get_state())


def test_an_unknown_match_is_refused():
    with pytest.raises(InputError, match="unknown match 'mean': choose one of entropy, ess"):
        random_weights(torch.ones(9), generator(), match="mean")
