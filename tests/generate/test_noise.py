"""Steps lie as the schedulers of diffusers put them; a range is a share of noise, or of the steps."""

import pytest

from refluence.errors import InputError
from refluence.generate.noise import described, guided_steps, log_snr, timesteps
from refluence.generate.predictions import linear_abar
from refluence.generate.settings import Guidance

FIFTY = timesteps("ddim", 50)


@pytest.mark.parametrize(("solver", "counts"), [("ddim", (1, 2, 10, 50, 250, 1000)), ("dpm", (1, 2, 3, 7, 20, 30, 999))])
def test_steps_are_those_of_diffusers(solver, counts):
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler() if solver == "ddim" else diffusers.DPMSolverMultistepScheduler()
    for count in counts:
        theirs.set_timesteps(count)
        assert timesteps(solver, count) == tuple(theirs.timesteps.tolist())


@pytest.mark.parametrize("solver", ["ddim", "ddpm", "dpm"])
def test_any_number_of_steps_begins_near_the_noisiest_and_never_repeats_one(solver):
    for count in (30, 300, 501, 667, 999, 1000):
        steps = timesteps(solver, count)
        assert len(set(steps)) == count
        assert list(steps) == sorted(steps, reverse=True)
        assert 1000 * (1 - 1 / count) - 1 <= steps[0] <= 999  # multiples of 1000 // 667 would begin at 666


def test_the_usual_range_holds_the_published_steps():
    published = [FIFTY[::-1][step] for step in range(45, 29, -1)]  # [30, 45] of 50, counted from 0 at the last one
    assert [FIFTY[i] for i in guided_steps(Guidance(), FIFTY)] == published == list(range(900, 599, -20))
    assert guided_steps(Guidance(), FIFTY) == guided_steps(Guidance(fraction=(0.62, 0.92)), FIFTY)
    assert [FIFTY[i] for i in guided_steps(Guidance(fraction=(0.6, 0.9)), FIFTY)] == list(range(880, 579, -20))
    assert guided_steps(Guidance(fraction=(0.6, 0.9)), timesteps("dpm", 20)) == tuple(range(2, 9))  # 18 to 12: Table 10


def test_a_range_of_noise_is_the_same_noise_at_any_number_of_steps():
    for count in (10, 20, 200):
        steps = timesteps("ddim", count)
        ratios = log_snr(linear_abar())[[steps[i] for i in guided_steps(Guidance(), steps)]]
        assert -8.22 <= float(ratios.min()) < -6.4
        assert -4.3 < float(ratios.max()) <= -3.6


@pytest.mark.parametrize(
    ("guidance", "said"),
    [
        (Guidance(low=20, high=30), "range is '20:30': it holds none of the 50 steps, which go from log-SNR -9.7 to 9.2"),
        (Guidance(fraction=(0.001, 0.002)), "range is '0.1%:0.2%': it holds none of the 50 steps"),
    ],
)
def test_a_range_that_no_step_falls_in_is_refused(guidance, said):
    with pytest.raises(InputError, match=said):
        guided_steps(guidance, FIFTY)


def test_the_guided_steps_are_said():
    assert (
        described((5, 6), FIFTY)
        == "2 of 50 steps are guided, 6 to 7, counted from the noisiest (t from 880 to 860, log-SNR from -7.9 to -7.5)"
    )
