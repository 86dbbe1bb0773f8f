"""Random streams: the same three words give the same numbers, whatever else happens in the process."""

import itertools

import torch

from refluence.seeds import streams


def draw(generator):
    return torch.randint(0, 2**31, (4,), generator=generator).tolist()


def test_values_are_pinned():
    assert draw(streams(0)("network", 0)) == [775350796, 718884974, 266777781, 1093915053]
    assert draw(streams(3)("real-batch", 17)) == [1155980482, 1705595148, 507730627, 278485930]


def test_a_stream_starts_anew_each_time_and_ignores_global_state():
    rng = streams(5)
    torch.manual_seed(1)
    first = draw(rng("real-batch", 2))
    torch.manual_seed(2)
    torch.rand(10)
    rng("network", 0)
    assert draw(rng("real-batch", 2)) == first
    assert draw(streams(5)("real-batch", 2)) == first


def test_a_stream_leaves_global_state_alone():
    torch.manual_seed(9)
    before = torch.get_rng_state()
    draw(streams(0)("network", 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_seed_purpose_and_index_all_count():
    keys = itertools.product((0, 1, -1, 11), ("network", "real-batch", "1/network"), (0, 1, 10))
    drawn = [tuple(draw(streams(seed)(purpose, index))) for seed, purpose, index in keys]
    assert len(set(drawn)) == len(drawn) == 36


def test_the_index_is_0_unless_it_is_given():
    assert draw(streams(0)("network")) == draw(streams(0)("network", 0))
