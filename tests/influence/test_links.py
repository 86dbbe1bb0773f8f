import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refluence.errors import InputError
from refluence.influence.links import (
    LARGEST_DEVIATION,
    LARGEST_EXPONENT,
    LINKS,
    effective_sample_size,
    entropy,
    exp_weights,
    prune_weights,
    relu_weights,
    sigmoid_weights,
    softmax_weights,
    standardise,
    tau_for_share,
    top_weights,
)
from support.draws import generator

values = st.floats(-1e3, 1e3).map(lambda v: round(v, 6))  # no subnormal numbers: scales are tested on their own
bags = st.lists(values, min_size=5, max_size=40).map(lambda v: torch.tensor(v, dtype=torch.float64))
taus = st.floats(1e-3, 1e3)
signs = st.sampled_from([1, -1])
quick = settings(max_examples=60, deadline=None)
BY_NAME = {
    "softmax": lambda s, sign: softmax_weights(s, 0.7, sign),
    "sigmoid": lambda s, sign: sigmoid_weights(s, 0.7, sign),
    "exp": lambda s, sign: exp_weights(s, 0.7, sign),
    "top": lambda s, sign: top_weights(s, 0.3, sign),
    "prune": lambda s, sign: prune_weights(s, 0.3, sign),
    "relu": relu_weights,
}
names = st.sampled_from(sorted(BY_NAME))


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
@given(bags, st.floats(1e-20, 1e20), st.sampled_from(["std", "robust", "mad"]))
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


@pytest.mark.parametrize("sign", [1, -1])
def test_tau_to_zero_picks_one(sign):
    s = torch.randn(64, generator=generator())
    want = torch.zeros(64)
    want[(sign * s).argmax()] = 64
    for tau in (1e-6, 5e-324):
        assert torch.equal(softmax_weights(s, tau, sign), want)


# every link


@quick
@given(bags, names, signs)
def test_weights_follow_the_end_that_sign_names(s, name, sign):
    omega = BY_NAME[name](s, sign)
    ranked = omega[(sign * s).argsort()]
    steps = ranked.diff() * (-1 if name == "prune" else 1)  # prune takes from the end, the others give to it
    assert bool((steps >= -1e-12).all())
    assert bool((omega >= 0).all() and omega.isfinite().all())
    if name in ("softmax", "top", "prune") or (name == "relu" and bool((sign * s > 0).any())):
        assert float(omega.mean()) == pytest.approx(1, abs=1e-12)


@quick
@given(bags, names, st.integers(0, 1000))
def test_turning_the_sign_is_turning_the_scores_and_order_is_kept(s, name, seed):
    assert torch.equal(BY_NAME[name](s, -1), BY_NAME[name](-s, 1))
    order = torch.randperm(len(s), generator=generator(seed))
    torch.testing.assert_close(BY_NAME[name](s[order], 1), BY_NAME[name](s, 1)[order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name in LINKS if name != "relu"])
def test_zero_scores_weigh_exactly_one(name, dtype):
    for n in (1, 5, 37):
        assert torch.equal(BY_NAME[name](torch.zeros(n, dtype=dtype), 1), torch.ones(n, dtype=dtype))


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize(("dtype", "huge"), [(torch.float32, 3e38), (torch.float64, 1e308)])
def test_huge_scores_stay_finite_under_every_link(name, dtype, huge):
    s = torch.tensor([huge, -huge, 0, 1, -1], dtype=dtype)
    for sign in (1, -1):
        omega = BY_NAME[name](s, sign)
        assert omega.dtype == dtype
        assert bool(omega.isfinite().all())
        assert bool(omega.sum().isfinite())
    assert float(exp_weights(s, 1e-300, 1).max()) == pytest.approx(math.exp(LARGEST_EXPONENT), rel=1e-5)


# one link at a time


@quick
@given(bags, taus)
def test_sigmoid_is_that_of_kd_aif_at_sign_minus_one(s, tau):
    phi = standardise(s, "scale") / tau
    omega = sigmoid_weights(phi, 1.0, sign=-1)
    torch.testing.assert_close(omega, 2 / (1 + torch.exp(phi)))
    assert bool((omega[phi > 1e-9] < 1).all())  # harmful: more weight raises the risk
    assert bool((omega[phi < -1e-9] > 1).all())
    torch.testing.assert_close(omega + sigmoid_weights(phi, 1.0, sign=1), torch.full_like(s, 2.0))


def test_sigmoid_of_standardised_scores_stays_inside_zero_and_two():
    omega = sigmoid_weights(standardise(torch.randn(500, generator=generator())), 1.0, sign=-1)
    assert 0 < float(omega.min()) < 0.3
    assert 1.7 < float(omega.max()) < 2


@quick
@given(bags, st.floats(0.1, 1e3), signs)
def test_exp_is_the_softmax_before_it_is_normalised(s, tau, sign):
    z = standardise(s)
    omega = exp_weights(z, tau, sign)
    if float(omega.max()) < 1e12:
        torch.testing.assert_close(omega / omega.mean(), softmax_weights(z, tau, sign))


def test_scale_keeps_zero_and_the_side_of_every_score():
    s = torch.tensor([0.0, 1, 2, 3, -8], dtype=torch.float64)
    torch.testing.assert_close(standardise(s, "scale"), s / s.square().mean().sqrt())
    assert float(standardise(s, "scale")[0]) == 0
    assert torch.equal(standardise(torch.zeros(6), "scale"), torch.zeros(6))
    torch.testing.assert_close(standardise(1e200 * s, "scale"), standardise(s, "scale"))


def mad_by_hand(scores: list[float]) -> list[float]:
    def middle(values):
        return sorted(values)[(len(values) - 1) // 2]

    spread = 1.4826 * middle([abs(s - middle(scores)) for s in scores])
    if spread == 0:
        spread = math.sqrt(sum(s * s for s in scores) / len(scores))
    return [0.0 if spread == 0 else max(-2.0, min(2.0, s / spread)) for s in scores]


@pytest.mark.parametrize(
    ("scores", "clipped"),
    [
        ([-2.0, -1.0, 0.0, 0.5, 1.5], 0),
        ([-1.0, -0.5, 0.0, 1.0, 2.0, 500.0], 1),  # an even number; what lies far out moves nobody else
        ([4.0, 5.0, 6.0, 5.5, 5.2], 5),  # all far above zero: not centred
        ([0.0, 0.0, 0.0, 2.0, 2.0], 0),  # a MAD of zero at zero
        ([0.7, 0.7, 0.7, 0.7, -2.0], 0),  # and away from it
        ([-0.1] * 8, 0),
        ([0.0] * 6, 0),
        ([0.0] * 30 + [1.0, -7.0], 1),  # a MAD of zero, clipped
    ],
)
def test_mad_is_that_by_hand(scores, clipped):
    z = standardise(torch.tensor(scores, dtype=torch.float64), "mad")
    torch.testing.assert_close(z, torch.tensor(mad_by_hand(scores), dtype=torch.float64), rtol=1e-14, atol=0)
    assert int((z.abs() == LARGEST_DEVIATION).sum()) == clipped


@quick
@given(bags)
def test_mad_keeps_zero_and_the_side_and_order_of_every_score(s):
    z = standardise(s, "mad")
    assert torch.equal(z.sign(), s.sign())
    assert bool((z[s.argsort()].diff() >= 0).all())
    assert float(z.abs().max()) <= LARGEST_DEVIATION


def test_a_mad_of_rounding_alone_is_zero():
    s = torch.full((9,), 0.1, dtype=torch.float64) * (1 + 1e-16 * torch.arange(9))
    s[8] = -0.1
    assert float(standardise(s, "mad").abs().max()) == pytest.approx(1)


def test_mad_weighs_a_score_of_zero_one_and_no_instance_out():
    s = torch.tensor([-1e9, -1.0, -0.2, 0.0, 0.3, 1.0, 1e9], dtype=torch.float64)
    omega = sigmoid_weights(standardise(s, "mad"), 1.0, sign=-1)
    assert float(omega[3]) == 1
    assert float(omega[0] / omega[-1]) == pytest.approx(math.exp(2))


@quick
@given(st.lists(values, min_size=5, max_size=40, unique=True), st.floats(0.01, 1), signs)
def test_top_and_prune_against_sorting_by_hand(listed, keep, sign):
    n = len(listed)
    k = max(1, math.floor(keep * n + 0.5))
    falling = sorted(listed, key=lambda v: -sign * v)
    s = torch.tensor(listed, dtype=torch.float64)
    top = [n / k if v in falling[:k] else 0.0 for v in listed]
    prune = [0.0 if v in falling[: n - k] else n / k for v in listed]
    torch.testing.assert_close(top_weights(s, keep, sign), torch.tensor(top, dtype=torch.float64))
    torch.testing.assert_close(prune_weights(s, keep, sign), torch.tensor(prune, dtype=torch.float64))
    assert effective_sample_size(top_weights(s, keep, sign)) == pytest.approx(k / n)


def test_ties_share_the_last_places():
    s = torch.tensor([3.0, 1, 1, 1, 0, -1, -1, -1])
    torch.testing.assert_close(top_weights(s, 0.25, 1), torch.tensor([4, 4 / 3, 4 / 3, 4 / 3, 0, 0, 0, 0]))
    torch.testing.assert_close(prune_weights(s, 0.25, 1), torch.tensor([0, 0, 0, 0, 0, 8 / 3, 8 / 3, 8 / 3]))
    assert torch.equal(top_weights(s, 1, 1), torch.ones(8))


# how even


@quick
@given(bags, taus)
def test_effective_sample_size_is_a_share(s, tau):
    share = effective_sample_size(softmax_weights(s, tau))
    assert 1 / len(s) - 1e-12 <= share <= 1
    assert effective_sample_size(torch.ones(len(s))) == 1
    assert effective_sample_size(torch.eye(len(s))[0] * len(s)) == pytest.approx(1 / len(s))


def test_entropy_is_between_zero_and_log_n():
    assert entropy(torch.ones(8)) == pytest.approx(math.log(8))
    assert entropy(torch.eye(8)[3] * 8) == 0
    assert entropy(torch.tensor([3e38, 1e38])) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))


def test_auto_tau_at_the_ends():
    s = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0])
    assert math.isinf(tau_for_share(s, 1))
    tied = softmax_weights(s, tau_for_share(s, 0.1))  # two share the top: an eighth cannot be reached
    assert effective_sample_size(tied) == pytest.approx(0.25)
    with pytest.raises(InputError, match=r"ess must be a share in \(0, 1\], got 0"):
        tau_for_share(s, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(value):
    s = torch.tensor([1.0, 2, value, 3, 4])
    for f in (standardise, lambda t: softmax_weights(t, 1.0), lambda t: tau_for_share(t, 0.5)):
        with pytest.raises(InputError, match="1 of 5 are NaN or infinite"):
            f(s)


@pytest.mark.parametrize("keep", [0, 1.5, -0.1, math.nan, True, "half"])
def test_shares_outside_zero_and_one_are_refused(keep):
    with pytest.raises(InputError, match=r"keep must be a share in \(0, 1\], got"):
        top_weights(torch.arange(5.0), keep, 1)


@pytest.mark.parametrize("link", [sigmoid_weights, exp_weights])
def test_impossible_temperatures_are_refused(link):
    with pytest.raises(InputError, match="tau must be > 0"):
        link(torch.arange(5.0), 0, 1)
    with pytest.raises(InputError, match="2 of 5 are NaN or infinite"):
        link(torch.tensor([1.0, math.nan, math.inf, 2, 3]), 1.0, 1)


def test_relu_gives_all_weight_to_the_sign_that_is_asked_and_nothing_where_there_is_none():
    s = torch.tensor([-3.0, -1, 0, 2, 5])
    assert relu_weights(s, -1).tolist() == [3.75, 1.25, 0, 0, 0]
    assert relu_weights(1e30 * s, 1).tolist() == pytest.approx([0, 0, 0, 10 / 7, 25 / 7])
    assert torch.equal(relu_weights(s.abs(), -1), torch.zeros(5))
    assert effective_sample_size(torch.zeros(5)) == 0


def test_every_link_has_a_line():
    assert set(LINKS) == set(BY_NAME)
    assert not any("\n" in line for line in LINKS.values())
