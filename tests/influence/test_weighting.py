import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refluence.errors import InputError
from refluence.influence import (
    KINDS,
    LINKS,
    Weighting,
    effective_sample_size,
    entropy,
    exp_weights,
    parse_weighting,
    prune_weights,
    random_weights,
    relu_weights,
    shuffle,
    sigmoid_weights,
    softmax_weights,
    standardise,
    tau_for_share,
    top_weights,
    weights,
)
from support.draws import generator

HOW = ("std", "robust", "scale", "none")
values = st.floats(-1e3, 1e3).map(lambda v: round(v, 6))  # no subnormal numbers: scales are tested on their own
bags = st.lists(values, min_size=5, max_size=40).map(lambda v: torch.tensor(v, dtype=torch.float64))
signs = st.sampled_from([1, -1])
quick = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [5, 64, 255, 256])
def test_infinite_tau_is_ones_bit_for_bit(n, dtype):
    s = torch.randn(n, generator=generator(), dtype=dtype) * 1e6
    assert torch.equal(softmax_weights(s, math.inf), torch.ones_like(s))
    assert torch.equal(weights(s, Weighting("influence", tau=math.inf)), torch.ones_like(s))


@quick
@given(bags, st.sampled_from([1e30, -1e30, 1e300]), st.sampled_from([1e-300, 1e-3, 1.0, math.inf]), st.sampled_from(HOW))
def test_huge_scores_stay_finite(s, scale, tau, how):
    omega = weights(s * scale, Weighting("influence", tau=tau, standardise=how))
    assert bool(omega.isfinite().all())
    assert float(omega.mean()) == pytest.approx(1, abs=1e-9)
    small = weights((s * 1e-3).float() * 1e30, Weighting("influence", tau=tau, standardise=how))
    assert bool(small.isfinite().all())


@quick
@given(st.integers(0, 10**6), st.floats(0.05, 0.99), signs)
def test_auto_tau_hits_the_share(seed, share, sign):
    s = torch.randn(40, generator=generator(seed), dtype=torch.float64)
    got = effective_sample_size(softmax_weights(s, tau_for_share(s, share, sign), sign))
    assert got == pytest.approx(share, abs=1e-6)
    omega = weights(1e-9 * s, Weighting("influence", tau="auto", ess=share, sign=sign))
    assert effective_sample_size(omega) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_links_are_those_of_the_functions(sign):
    s = 3 + 0.01 * torch.randn(32, generator=generator(), dtype=torch.float64)
    z = standardise(s)
    want = {
        "softmax": softmax_weights(z, 0.5, sign),
        "sigmoid": sigmoid_weights(z, 0.5, sign),
        "exp": exp_weights(z, 0.5, sign),
        "top": top_weights(s, 0.3, sign),
        "prune": prune_weights(s, 0.3, sign),
        "relu": relu_weights(z, sign),
    }
    for link in LINKS:
        options = {"link": link, "tau": 0.5, "keep": 0.3}
        assert torch.equal(weights(s, Weighting("influence", sign=sign, **options)), want[link])
        assert torch.equal(weights(s, Weighting("flipped", sign=-sign, **options)), want[link])
        assert torch.equal(
            weights(s, Weighting("shuffled", sign=sign, **options), generator(1)), shuffle(want[link], generator(1))
        )
        constant = weights(torch.full((7,), 0.1), Weighting("influence", sign=sign, **options))
        assert torch.equal(constant, torch.zeros(7) if link == "relu" else torch.ones(7))


def test_ranks_are_not_lost_beside_an_outlier():
    s = torch.tensor([1e30, 1.0, 2, 3, 4, 5])
    omega = weights(s, Weighting("influence", link="prune", keep=0.5))
    assert torch.equal(omega, torch.tensor([0.0, 2, 2, 2, 0, 0]))
    rounding = torch.full((6,), 0.1).double().float() + torch.tensor([0, 1e-9, 0, 1e-9, 0, 0])
    assert torch.equal(weights(rounding, Weighting("influence", link="top", keep=0.5)), torch.ones(6))


def test_exp_takes_the_tau_of_the_share_too():
    s = torch.randn(40, generator=generator(), dtype=torch.float64)
    omega = weights(s, Weighting("influence", link="exp", tau="auto", ess=0.3))
    assert effective_sample_size(omega) == pytest.approx(0.3, abs=1e-6)


def test_controls():
    s = torch.randn(32, generator=generator())
    influence = weights(s, Weighting("influence", tau=0.5))
    shuffled = weights(s, Weighting("shuffled", tau=0.5), generator(1))
    assert not torch.equal(shuffled, influence)
    assert torch.equal(shuffled.sort().values, influence.sort().values)
    assert torch.equal(shuffled, weights(s, Weighting("shuffled", tau=0.5), generator(1)))
    assert torch.equal(shuffled, shuffle(influence, generator(1)))
    assert torch.equal(weights(s, Weighting("flipped", tau=0.5)), weights(s, Weighting("influence", tau=0.5, sign=-1)))
    assert torch.equal(weights(s, Weighting("flipped", tau=0.5, sign=-1)), influence)
    assert torch.equal(weights(s, Weighting("loss", tau=0.5)), influence)  # the same link; the caller passes losses
    assert torch.equal(weights(s, Weighting("uniform", tau=0.5)), torch.ones(32))
    drawn = weights(s, Weighting("random", tau=0.5), generator(1))
    assert torch.equal(drawn, random_weights(influence, generator(1)))
    assert entropy(drawn) == pytest.approx(entropy(influence), abs=1e-5)
    for kind in ("shuffled", "random"):
        with pytest.raises(InputError, match=f"{kind} weights need a generator"):
            weights(s, Weighting(kind))


def test_small_bags_are_uniform_with_a_warning():
    s = torch.tensor([1.0, 2, 3, 4])
    with pytest.warns(UserWarning, match="fewer than 5 instances is weighted uniformly"):
        assert torch.equal(weights(s, Weighting("influence")), torch.ones(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(weights(s, Weighting("uniform")), torch.ones(4))
        weights(torch.arange(5.0), Weighting("influence"))


def test_global_randomness_is_not_touched():
    state = torch.get_rng_state()
    for kind in ("shuffled", "random"):
        weights(torch.arange(9.0), Weighting(kind), generator())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("kind", "best", "kind is 'best': choose one of uniform, influence"),
        ("tau", 0, "tau is 0: it must be a number, above 0, or auto"),
        ("tau", -1.0, "tau is -1.0: "),
        ("tau", math.nan, "tau is nan: "),
        ("tau", "warm", "tau is 'warm': it must be a number, above 0, or auto"),
        ("ess", 0, "ess is 0: it must be a finite number, above 0 and at most 1"),
        ("ess", 1.5, "ess is 1.5: "),
        ("sign", 0, "sign is 0: choose one of 1, -1"),
        ("bag", "pile", "bag is 'pile': choose one of class, batch, all"),
        ("where", "under", "where is 'under': choose one of inside, outside"),
        ("standardise", "l2", "standardise is 'l2': choose one of std, robust, scale, mad, none"),
        ("link", "logit", "link is 'logit': choose one of softmax, sigmoid, exp, top, prune"),
        ("keep", 0, "keep is 0: it must be a finite number, above 0 and at most 1"),
        ("keep", 2.0, "keep is 2.0: "),
        ("refresh", 0, "refresh is 0: it must be a whole number, at least 1"),
        ("refresh", 1.5, "refresh is 1.5: "),
        ("warmup", 1, "warmup is 1: it must be a finite number, at least 0 and below 1"),
        ("warmup", -0.1, "warmup is -0.1: "),
        ("memory", 1, "memory is 1: it must be a finite number, at least 0 and below 1"),
    ],
)
def test_bad_options_are_named(option, value, message):
    with pytest.raises(InputError, match=message):
        Weighting(**{"kind": "influence", option: value})


def test_parsing():
    options = {"tau": ".1", "sign": "-1", "bag": "batch", "refresh": "5", "memory": ".9", "standardise": "robust"}
    want = Weighting("influence", tau=0.1, sign=-1, bag="batch", refresh=5, memory=0.9, standardise="robust")
    assert parse_weighting("influence", options) == want
    assert parse_weighting("loss", {"tau": "auto", "ess": "0.25"}) == Weighting("loss", tau="auto", ess=0.25)
    assert parse_weighting("influence", {"tau": "inf"}).tau == math.inf
    assert parse_weighting("uniform", {}) == Weighting()
    chosen = {"link": "prune", "keep": ".8", "sign": "-1"}
    assert parse_weighting("random", chosen) == Weighting("random", link="prune", keep=0.8, sign=-1)
    assert parse_weighting("influence", {"link": "exp", "tau": "auto"}) == Weighting("influence", link="exp", tau="auto")
    for bad, message in [
        ({"tua": "1"}, "unknown weighting option 'tua=1': did you mean tau[?] choose one of tau, ess, sign, bag"),
        ({"tau": "hot"}, "tau=hot: it must be a number, above 0, or auto"),
        ({"refresh": "2.5"}, "refresh=2.5: it must be a whole number, at least 1"),
        ({"ess": "half"}, "ess=half: it must be a finite number, above 0 and at most 1"),
        ({"tau": "0"}, "tau=0: it must be a number, above 0, or auto"),
        ({"keep": "most"}, "keep=most: it must be a finite number"),
        ({"link": "cosh"}, "link=cosh: choose one of softmax, sigmoid"),
        ({"link": "sigmoid", "tau": "auto"}, "tau=auto is for link=softmax and link=exp, got link=sigmoid"),
        ({"link": "top", "tau": ".1"}, "tau=.1 means nothing with link=top: its share is keep"),
        ({"link": "relu", "tau": ".1"}, "tau=.1 means nothing with link=relu: it does not change with the scale"),
        ({"link": "prune", "ess": ".1"}, "ess=.1 means nothing with link=prune"),
        ({"keep": ".3"}, "keep=.3 means nothing with link=softmax: it is the share of link=top and link=prune"),
    ]:
        with pytest.raises(InputError, match=message):
            parse_weighting("influence", bad)


def test_every_kind_has_a_line():
    during = {"uniform", "influence", "shuffled", "random", "flipped", "loss", "difficulty", "small-loss", "adapt"}
    assert set(KINDS) == during | {"pruned", "selected", "relabelled", "scores"}
    for kind, line in KINDS.items():
        assert "\n" not in line
        Weighting(kind)


def test_to_first_order_the_weighted_mean_moves_by_the_covariance_times_the_direction():
    """b_w = b + C v / (tau s) + O(1/tau^2), docs/mathematics.md: the remainder falls by 100 when tau grows by 10."""
    g = torch.Generator().manual_seed(0)
    phi, v = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((50, 4), (4,)))
    b, scores = phi.mean(0), phi @ v
    covariance = (phi - b).T @ (phi - b) / 50
    left = []
    for tau in (100.0, 1000.0):
        moved = weights(scores, Weighting("influence", tau=tau)) @ phi / 50 - b
        left.append(float((moved - covariance @ v / (tau * scores.std(correction=0))).norm()))
        assert left[-1] < 0.05 * float(moved.norm())
    assert 80 < left[0] / left[1] < 120
