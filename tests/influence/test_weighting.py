import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refluence.errors import InputError
from refluence.influence import (
    KINDS,
    Weighting,
    effective_sample_size,
    parse_weighting,
    shuffle,
    softmax_weights,
    standardise,
    tau_for_share,
    weights,
)

HOW = ("std", "robust", "none")
values = st.floats(-1e3, 1e3).map(lambda v: round(v, 6))  # no subnormal numbers: scales are tested on their own
bags = st.lists(values, min_size=5, max_size=40).map(lambda v: torch.tensor(v, dtype=torch.float64))
taus = st.floats(1e-3, 1e3)
signs = st.sampled_from([1, -1])
quick = settings(max_examples=60, deadline=None)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@quick
@given(bags, taus, signs)
def test_weights_have_mean_one_and_follow_the_scores(s, tau, sign):
    omega = softmax_weights(s, tau, sign)
    assert float(omega.mean()) == pytest.approx(1, abs=1e-12)
    assert bool((omega >= 0).all())
    best = omega[(sign * s).argmax()]
    assert bool((omega <= best).all())


@quick
@given(bags, taus, st.floats(-100, 100))
def test_a_constant_shift_changes_nothing(s, tau, shift):
    torch.testing.assert_close(softmax_weights(s + shift, max(tau, 0.1)), softmax_weights(s, max(tau, 0.1)), rtol=1e-9, atol=0)


@quick
@given(bags, st.floats(1e-20, 1e20), st.sampled_from(["std", "robust"]))
def test_standardising_does_not_see_the_scale(s, scale, how):
    torch.testing.assert_close(standardise(s * scale, how), standardise(s, how), rtol=1e-6, atol=1e-6)


@quick
@given(bags)
def test_standardised_scores_have_mean_zero_and_deviation_one(s):
    z = standardise(s)
    assert float(z.mean()) == pytest.approx(0, abs=1e-6)
    constant = float(s.max() - s.min()) <= 4 * torch.finfo(s.dtype).eps * float(s.abs().max())
    assert float(z.std(unbiased=False)) == pytest.approx(0 if constant else 1, abs=1e-6)


def test_robust_uses_median_and_mad():
    s = torch.tensor([0.0, 1, 2, 3, 1000], dtype=torch.float64)
    torch.testing.assert_close(standardise(s, "robust"), (s - 2) / 1.4826, rtol=1e-6, atol=1e-6)
    many_ties = torch.tensor([1.0, 1, 1, 1, 5])
    assert bool(standardise(many_ties, "robust").isfinite().all())
    assert standardise(s, "none") is s


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e30])
def test_a_constant_bag_is_exactly_uniform(dtype, value):
    s = torch.full((37,), value, dtype=dtype)
    for how in ("std", "robust"):
        assert torch.equal(standardise(s, how), torch.zeros_like(s))
    assert torch.equal(softmax_weights(s, 1e-3), torch.ones_like(s))
    assert math.isinf(tau_for_share(s, 0.3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [5, 64, 255, 256])
def test_infinite_tau_is_ones_bit_for_bit(n, dtype):
    s = torch.randn(n, generator=generator(), dtype=dtype) * 1e6
    assert torch.equal(softmax_weights(s, math.inf), torch.ones_like(s))
    assert torch.equal(weights(s, Weighting("influence", tau=math.inf)), torch.ones_like(s))


@pytest.mark.parametrize("sign", [1, -1])
def test_tau_to_zero_picks_one(sign):
    s = torch.randn(64, generator=generator())
    want = torch.zeros(64)
    want[(sign * s).argmax()] = 64
    for tau in (1e-6, 5e-324):
        assert torch.equal(softmax_weights(s, tau, sign), want)


@quick
@given(bags, st.sampled_from([1e30, -1e30, 1e300]), st.sampled_from([1e-300, 1e-3, 1.0, math.inf]), st.sampled_from(HOW))
def test_huge_scores_stay_finite(s, scale, tau, how):
    omega = weights(s * scale, Weighting("influence", tau=tau, standardise=how))
    assert bool(omega.isfinite().all())
    assert float(omega.mean()) == pytest.approx(1, abs=1e-9)
    small = weights((s * 1e-3).float() * 1e30, Weighting("influence", tau=tau, standardise=how))
    assert bool(small.isfinite().all())


@quick
@given(bags, taus)
def test_effective_sample_size_is_a_share(s, tau):
    share = effective_sample_size(softmax_weights(s, tau))
    assert 1 / len(s) - 1e-12 <= share <= 1
    assert effective_sample_size(torch.ones(len(s))) == 1
    assert effective_sample_size(torch.eye(len(s))[0] * len(s)) == pytest.approx(1 / len(s))


@quick
@given(st.integers(0, 10**6), st.floats(0.05, 0.99), signs)
def test_auto_tau_hits_the_share(seed, share, sign):
    s = torch.randn(40, generator=generator(seed), dtype=torch.float64)
    got = effective_sample_size(softmax_weights(s, tau_for_share(s, share, sign), sign))
    assert got == pytest.approx(share, abs=1e-6)
    omega = weights(1e-9 * s, Weighting("influence", tau="auto", ess=share, sign=sign))
    assert effective_sample_size(omega) == pytest.approx(share, abs=1e-6)


def test_auto_tau_at_the_ends():
    s = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0])
    assert math.isinf(tau_for_share(s, 1))
    tied = softmax_weights(s, tau_for_share(s, 0.1))  # two share the top: an eighth cannot be reached
    assert effective_sample_size(tied) == pytest.approx(0.25)
    with pytest.raises(InputError, match=r"ess must be a share in \(0, 1\], got 0"):
        tau_for_share(s, 0)


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
    with pytest.raises(InputError, match="generator"):
        weights(s, Weighting("shuffled"))


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
    weights(torch.arange(9.0), Weighting("shuffled"), generator())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(value):
    s = torch.tensor([1.0, 2, value, 3, 4])
    for f in (standardise, lambda t: softmax_weights(t, 1.0), lambda t: tau_for_share(t, 0.5)):
        with pytest.raises(InputError, match="1 of 5 are NaN or infinite"):
            f(s)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("kind", "best", "unknown weights 'best': choose one of uniform, influence"),
        ("tau", 0, r"tau must be > 0 \(.*\), got 0"),
        ("tau", -1.0, "tau must be > 0"),
        ("tau", math.nan, "tau must be > 0"),
        ("tau", "warm", "tau must be > 0 .* got 'warm'"),
        ("ess", 0, r"ess must be a share in \(0, 1\], got 0"),
        ("ess", 1.5, "ess must be"),
        ("sign", 0, "sign must be 1 or -1, got 0"),
        ("bag", "pile", "unknown bag 'pile': choose one of class, batch, all"),
        ("where", "under", "unknown where 'under': choose one of inside, outside"),
        ("standardise", "l2", "unknown standardise 'l2': choose one of std, robust, none"),
        ("refresh", 0, "refresh must be a whole number of steps, at least 1, got 0"),
        ("refresh", 1.5, "refresh must be"),
        ("memory", 1, r"memory must be in \[0, 1\), got 1"),
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
    for bad, message in [
        ({"tua": "1"}, "unknown weighting option 'tua=1': choose from tau, ess, sign, bag"),
        ({"tau": "hot"}, "tau must be a number or auto, got 'hot'"),
        ({"refresh": "2.5"}, "refresh must be a whole number, got '2.5'"),
        ({"ess": "half"}, "ess must be a number, got 'half'"),
        ({"tau": "0"}, "tau must be > 0"),
    ]:
        with pytest.raises(InputError, match=message):
            parse_weighting("influence", bad)


def test_every_kind_has_a_line():
    assert set(KINDS) == {"uniform", "influence", "shuffled", "flipped", "loss"}
    for kind, line in KINDS.items():
        assert "\n" not in line
        Weighting(kind)
