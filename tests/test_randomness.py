"""Global generators follow a generator of ours inside `seeded`, and are what they were outside."""

import random

import numpy as np
import pytest
import torch

from refluence.randomness import drawn_so_far, seeded
from refluence.seeds import streams
from support.noisy_nets import stir, stirred


def drawn():
    return torch.rand(3).tolist(), torch.randn(2).tolist(), np.random.rand(3).tolist(), [random.random() for _ in range(3)]


def within(source):
    with seeded(source):
        return drawn()


def test_what_is_drawn_follows_from_the_generator_alone():
    stir(1)
    first = within(streams(0)("training", 3))
    stir(2)
    assert within(streams(0)("training", 3)) == first
    others = [within(s) for s in (streams(0)("training", 4), streams(1)("training", 3), streams(0)("network", 3), 5, 6)]
    for other in others:
        assert all(a != b for a, b in zip(first, other, strict=True))


def test_the_generator_stays_where_it_is_and_its_place_counts():
    generator, again = (streams(0)("training", 0) for _ in range(2))
    first = within(generator)
    assert torch.equal(generator.get_state(), again.get_state())
    own = torch.rand(3, generator=generator).tolist()
    assert own != first[0], "the global numbers are others than its own"
    assert within(generator) != first, "a second block of one generator is another"


def test_the_callers_state_comes_back_after_an_error_too():
    stir(3)
    before = stirred()
    for error in (None, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt) if error else seeded(0), seeded(1):
            drawn()
            if error:
                raise error
        assert stirred() == before


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), lambda: np.random.rand(), random.random, lambda: random.gauss(0, 1)])
def test_a_draw_is_noticed(draw):
    before = drawn_so_far()
    torch.rand(1, generator=torch.Generator())
    assert drawn_so_far() == before
    draw()
    assert drawn_so_far() != before
