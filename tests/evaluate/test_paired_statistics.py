"""The statistics against scipy and against values worked out by hand; the verdict against every case that it can meet."""

import json
import math
from dataclasses import fields

import pytest
import torch
from scipy import stats

from refluence.errors import InputError
from refluence.evaluate import summarise, verdict
from refluence.evaluate.paired import compare, holm
from refluence.evaluate.references import base, references
from refluence.influence.weighting import Weighting
from refluence.jobs.catalogue import base_of, parse_arm


def rows_of(**arms) -> list[dict]:
    """Rows from arm=[accuracy of seed 0, 1, ...]; `__` stands for `+`; None for a seed that is missing."""
    return [
        {"arm": arm.replace("__", "+"), "seed": seed, "protocol": "dc", "accuracy": accuracy}
        for arm, accuracies in arms.items()
        for seed, accuracy in enumerate(accuracies)
        if accuracy is not None
    ]


def noisy(mean: float, n: int, spread: float, seed: int) -> list[float]:
    return (mean + spread * torch.randn(n, generator=torch.Generator().manual_seed(seed))).tolist()


def one(summary, arm, against):
    (row,) = [r for r in summary if r["arm"] == arm and r["against"] == against]
    return row


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_paired_test_equals_scipy(n):
    a, b = noisy(60.0, n, 1.0, 1), noisy(59.5, n, 1.0, 2)
    test = stats.ttest_rel(a, b)
    interval = test.confidence_interval(0.95)
    found = compare([x - y for x, y in zip(a, b, strict=True)])
    assert found["p"] == pytest.approx(test.pvalue)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
    assert found["smallest_shown"] == pytest.approx((interval.high - interval.low) / 2)


def test_the_smallest_difference_is_where_the_interval_meets_zero():
    differences = [0.5, 1.5, 0.9, 1.1]
    centred = [d - sum(differences) / 4 for d in differences]
    smallest = compare(differences)["smallest_shown"]
    assert compare([d + smallest * 1.001 for d in centred])["low"] > 0
    assert compare([d + smallest * 0.999 for d in centred])["low"] < 0


def test_one_and_two_pairs():
    single = compare([2.0])
    assert single["difference"] == 2.0
    assert [single[k] for k in ("low", "high", "smallest_shown", "p", "p_holm")] == [None] * 5
    assert compare([1.0, 3.0])["high"] == pytest.approx(2 + 12.7062047 * 1.0, rel=1e-6)
    assert compare([])["difference"] is None


@pytest.mark.parametrize("differences", [[1.0, 1.0], [0.0] * 5, [50.1 - 50.0, 51.1 - 51.0, 0.1]], ids=["1", "0", "rounded"])
def test_equal_differences_are_no_evidence(differences):
    found = compare(differences)
    assert found["difference"] == pytest.approx(differences[0])
    assert found["pairs"] == len(differences)
    assert [found[k] for k in ("low", "high", "smallest_shown", "p", "p_holm")] == [None] * 5


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_summary_pairs_common_seeds_and_corrects_all_but_the_primary():
    rows = rows_of(
        random=[50.0, 51.0, 52.5, 50.5],
        dc=[60.0, 61.0, 63.0, 61.5],
        dc__influence=[60.5, 62.0, None, 61.8],
        dc__shuffled=[60.2, 60.9, 63.3, 61.2],
    )
    summary = summarise(rows)
    primary = one(summary, "dc+influence", "dc")
    assert [row["primary"] for row in summary].count(True) == 1
    assert primary["primary"]
    assert (primary["n"], primary["pairs"]) == (3, 3)
    expected = stats.ttest_rel([60.5, 62.0, 61.8], [60.0, 61.0, 61.5])
    assert primary["p"] == primary["p_holm"] == pytest.approx(expected.pvalue)
    assert primary["difference"] == pytest.approx(0.6)
    method = one(summary, "dc", "random")
    assert method["sd"] == pytest.approx(stats.tstd([60.0, 61.0, 63.0, 61.5]))
    others = [r for r in summary if not r["primary"] and r["p"] is not None]
    assert {(r["arm"], r["against"]) for r in others} == {
        ("dc", "random"),
        ("dc+influence", "dc+shuffled"),
        ("dc+shuffled", "dc"),
    }
    assert [r["p_holm"] for r in others] == pytest.approx(holm([r["p"] for r in others]))
    assert method["p_holm"] == pytest.approx(3 * method["p"])
    assert one(summary, "random", None)["difference"] is None
    json.dumps(summary, allow_nan=False)


def test_another_primary_can_be_declared():
    rows = rows_of(random=[1.0, 2.0], dc=[3.0, 5.0], dc__influence=[4.0, 4.5])
    assert one(summarise(rows, primary="dc"), "dc", "random")["primary"]
    assert not one(summarise(rows, primary="dc"), "dc+influence", "dc")["primary"]
    with pytest.raises(InputError, match=r"'idc'.*random, dc"):
        summarise(rows, primary="idc")


def test_only_a_comparison_with_uniform_weights_or_random_images_is_primary():
    rows = rows_of(dc__influence=[4.0, 4.5], dc__shuffled=[3.0, 4.0], dc__loss=[3.5, 4.4])
    summary = summarise(rows, declared=[("dc+influence", "dc+loss")])
    assert [row["primary"] for row in summary] == [False] * len(summary), "without dc there is none"


def test_references_follow_the_options():
    arms = ["random", "full", "dc", "dc:net_lr=1", "dm"]
    arms += ["dc+shuffled", "dc+shuffled:tau=1", "dc+shuffled:net_lr=1,tau=1"]
    assert references("dc", arms) == ["random"]
    assert references("random", arms) == references("full", arms) == []
    assert references("random:factor=2", arms) == references("herding:factor=2", arms) == ["random"]
    assert references("dc+pruned:by=loss,keep=.3", arms) == ["dc"]
    assert references("dc+influence", arms) == ["dc", "dc+shuffled"]
    assert references("dc+influence:tau=1", arms) == ["dc", "dc+shuffled:tau=1"]
    assert references("dc+loss:tau=1,net_lr=1", arms) == ["dc:net_lr=1", "dc+shuffled:net_lr=1,tau=1"]
    assert references("dc+shuffled:tau=1", arms) == ["dc"]
    assert references("dm+influence:tau=2", arms) == ["dm"]


def test_pruning_is_held_against_leaving_out_as_many_at_random():
    few, same = "dc+pruned:by=random,keep=.2", "dc+pruned:by=random"
    arms = ["dc", "dc+pruned", same, few, "dc+selected:by=random", "dc+shuffled", "dm+pruned:by=random"]
    assert references("dc+pruned", arms) == ["dc", same]
    assert references("dc+pruned:keep=.90,sign=-1", arms) == ["dc", same], "the same share, the other end"
    assert references("dc+pruned:by=loss", arms) == ["dc", few], "by loss a fifth is kept"
    assert references("dc+pruned:by=loss,keep=.3", arms) == ["dc"]
    assert references("dc+selected", arms) == ["dc", "dc+selected:by=random"]
    assert references(same, arms) == ["dc"]


@pytest.mark.parametrize(
    ("chance", "ending"),
    [
        ([5.0, 5.1, 5.2], "helped"),
        ([6.0, 6.3, 6.0], "not shown to be better than random"),
        (None, "not compared with random weights"),
    ],
)
def test_verdict_on_pruning(chance, ending):
    arms = {"dc": [5.0, 5.1, 5.2], "dc+pruned": [6.0, 6.2, 6.1], "dc+pruned:by=random": chance}
    rows = [{"arm": a, "seed": s, "accuracy": v} for a, values in arms.items() for s, v in enumerate(values or [])]
    assert verdict(summarise(rows), rows).startswith("pruned weights: +1.0 points over uniform")
    assert verdict(summarise(rows), rows).endswith(ending)


def test_declared_pairs_come_beside_the_others_and_do_not_change_the_verdict():
    rows = rows_of(dc=[5.0, 5.1, 5.3], dc__influence=[6.0, 6.2, 6.1], dc__loss=[5.0, 5.0, 5.1])
    pairs = [("dc+influence", "dc+loss"), ("dc+influence", "dc"), ("dc", "dc+loss"), ("dc", "dm")]
    summary = summarise(rows, declared=pairs)
    found = [(row["arm"], row["against"]) for row in summary]
    assert found == [("dc", "dc+loss"), ("dc+influence", "dc"), ("dc+influence", "dc+loss"), ("dc+loss", "dc")]
    assert one(summary, "dc+influence", "dc+loss")["difference"] == pytest.approx(6.1 - 15.1 / 3)
    assert verdict(summary, rows) == verdict(summarise(rows), rows)


def test_a_base_with_other_settings_is_no_reference():
    assert references("dc+influence:image_lr=1", ["dc", "dc:image_lr=1,net_lr=.1"]) == []
    assert references("dc+influence:image_lr=1,tau=2", ["dc", "dc:image_lr=1"]) == ["dc:image_lr=1"]
    assert references("dc+influence", ["dc:image_lr=1"]) == []


@pytest.mark.parametrize("field", [f.name for f in fields(Weighting) if f.name != "kind"])
def test_options_of_the_weights_are_no_settings_of_the_base(field):
    value = getattr(Weighting(), field)
    assert references(f"dc+influence:net_lr=1,{field}={value},image_lr=1", ["dc:image_lr=1,net_lr=1"]) != []


def test_settings_of_a_method_are_those_that_the_command_line_knows():
    for text in ("dc+influence:tau=.1,image_lr=1,sign=-1,net_lr=.1", "dc+loss", "dc+shuffled:bag=batch"):
        assert base(text) == base_of(parse_arm(text)).name


OUTSIDE, AT_INFINITY = "dc+influence:where=outside,tau=.5", "dc+influence:where=outside,tau=inf"


def test_an_outside_arm_is_held_against_its_own_distance():
    arms = ["dc", OUTSIDE, AT_INFINITY, "dc+influence:where=outside,tau=inf,image_lr=1", "dc+influence:tau=inf"]
    assert references(OUTSIDE, arms) == [AT_INFINITY]
    assert references(OUTSIDE, ["dc", OUTSIDE]) == ["dc"]
    assert references(AT_INFINITY, arms) == ["dc"]
    shuffled = "dc+shuffled:where=outside,tau=.5"
    assert references(shuffled, [*arms, shuffled]) == [AT_INFINITY]
    assert references(OUTSIDE, [*arms, shuffled]) == [AT_INFINITY, shuffled]


def told(arms: dict[str, list[float]]) -> str:
    rows = [{"arm": arm, "seed": s, "accuracy": a} for arm, values in arms.items() for s, a in enumerate(values)]
    return verdict(summarise(rows), rows)


def test_the_verdict_says_where_the_distance_is_another_one():
    shuffled, equal = "dc+shuffled:where=outside,tau=.5", "dc:equal_seconds=influence,where=outside,tau=.5"
    arms = {"dc": BASE, OUTSIDE: shifted(*UP), shuffled: shifted(*FLAT), equal: shifted(*FLAT)}
    line = told(arms)
    assert "+2.0 points over uniform (another distance) [1.8, 2.2], over shuffled +1.6 [" in line
    assert "over uniform at equal seconds (another distance) +1.6 [" in line
    assert "over uniform [" in told({OUTSIDE: shifted(*UP), shuffled: shifted(*FLAT), AT_INFINITY: BASE})
    assert "distance" not in told({"dc": BASE, "dc+influence": shifted(*UP)})


def test_an_end_just_below_nought_is_nought():
    line = told({"dc": [50.0, 50.0], "dc+influence": [50.32675, 50.27325]})  # .3 - 12.706 * .0535 / 2 = -.04
    assert "+0.3 points over uniform [0.0, 0.6]" in line
    assert "no difference shown" in line


def test_protocols_are_kept_apart_and_bad_rows_are_met():
    rows = rows_of(random=[1.0, 2.0], dc=[3.0, 5.0])
    rows += [dict(row, protocol="dsa", accuracy=row["accuracy"] + 10) for row in rows]
    rows += [{"arm": "dc", "seed": 7, "protocol": "dc", "accuracy": None}]
    rows += [{"arm": "dc", "seed": 8, "protocol": "dc", "accuracy": math.nan}]
    summary = summarise(rows)
    assert {r["protocol"]: r["mean"] for r in summary if r["arm"] == "dc"} == {"dc": 4.0, "dsa": 14.0}
    with pytest.raises(InputError, match=r"'dc'.*seed 0 twice"):
        summarise([*rows, rows[2]])


def say(**arms) -> str:
    rows = rows_of(**arms)
    return verdict(summarise(rows), rows)


BASE = [50.0, 51.0, 52.0, 50.5, 51.5]


def shifted(*by: float) -> list[float]:
    return [b + d for b, d in zip(BASE, by, strict=True)]


UP, DOWN, FLAT = (2.0, 2.1, 1.9, 2.2, 1.8), (-2.0, -2.1, -1.9, -2.2, -1.8), (0.4, -1.0, 1.3, 0.6, 0.7)


@pytest.mark.parametrize(
    ("shuffled", "influence", "ending"),
    [
        ((0.0, 0.1, 0.0, -0.1, 0.1), UP, "n = 5: helped"),
        (UP[::-1], UP, "better than uniform, but not shown to be better than shuffled"),
        ((0.0,) * 5, DOWN, "n = 5: hurt"),
        ((0.0, 0.1, 0.0, -0.1, 0.1), FLAT, "n = 5: no difference shown; n = 5 could show 1.1"),
    ],
)
def test_verdict_on_influence(shuffled, influence, ending):
    line = say(dc=BASE, dc__shuffled=shifted(*shuffled), dc__influence=shifted(*influence))
    assert line.endswith(ending), line
    assert line.startswith("influence weights: ")
    assert ("helped" in line) == (ending == "n = 5: helped")


def test_verdict_wording_in_full():
    line = say(dc=BASE, dc__shuffled=shifted(0.1, 0.2, 0.1, 0.2, 0.4), dc__influence=shifted(*FLAT))
    assert line == (
        "influence weights: +0.4 points over uniform [-0.7, 1.5], over shuffled +0.2 [-0.9, 1.3], n = 5: "
        "no difference shown; n = 5 could show 1.1"
    )


def test_verdict_without_an_interval_or_a_control():
    assert say(dc=[50.0], dc__shuffled=[50.2], dc__influence=[50.4]) == (
        "influence weights: +0.4 points over uniform, over shuffled +0.2, n = 1: no interval"
    )
    assert say(dc=BASE, dc__influence=shifted(*UP)).endswith("better than uniform, but not compared with shuffled weights")
    missing = "not compared with uniform weights: dc is not among the arms"
    assert say(dc__shuffled=BASE, dc__influence=shifted(*UP)).endswith(f"[1.8, 2.2], n = 5: {missing}")
    assert say(dc__influence=BASE) == f"influence weights: {missing}"
    apart = say(dc=[None, 50.0, 51.0], dc__influence=[50.0, None, None])
    assert apart == "influence weights: n = 0: no interval (no seed in common)"
    assert say(dc=[50.04], dc__influence=[50.0]).startswith("influence weights: +0.0 points")


def test_the_verdict_names_the_base_that_is_missing():
    line = told({"random": BASE, "dc": BASE, "dc+influence:tau=.1,image_lr=1": shifted(*UP), "dc+loss": BASE})
    assert (
        line == "influence weights (tau=.1,image_lr=1): not compared with uniform weights: dc:image_lr=1 is not among the arms"
    )


def test_nobody_is_helped_by_equal_differences():
    for n in (2, 5):
        one_up, half_up = [b + 1 for b in BASE[:n]], [b + 0.5 for b in BASE[:n]]
        line = say(dc=BASE[:n], dc__shuffled=half_up, dc__influence=one_up)
        assert line == (
            f"influence weights: +1.0 points over uniform, over shuffled +0.5, n = {n}: no interval (all differences are equal)"
        )
    line = say(dc=BASE, dc__shuffled=[u - 1 for u in shifted(*UP)], dc__influence=shifted(*UP))
    assert line.endswith("better than uniform, but against shuffled no interval (all differences are equal)")
    assert say(random=BASE, dm=[b + 1 for b in BASE]).endswith("n = 5: no interval (all differences are equal)")


def test_verdict_without_influence():
    line = say(random=BASE, dc=shifted(*UP), dm=shifted(*FLAT))
    assert line == (
        "highest mean of 2 arms beside random: dc, 53.0 %, +2.0 points over random [1.8, 2.2], n = 5: "
        "better than random (Holm p < 0.001)"
    )
    assert say(random=BASE, dm=shifted(*FLAT)).startswith("dm, 51.4 %, +0.4 points over random [")
    assert say(random=BASE, dm=shifted(*FLAT)).endswith("no difference shown; n = 5 could show 1.1")
    assert say(random=BASE, dm=shifted(*DOWN)).endswith("worse than random (Holm p < 0.001)")
    assert say(random=[50.0], dm=[51.0]).endswith("+1.0 points over random, n = 1: no interval")
    assert say(dc=BASE, dm=shifted(*UP)) == "highest mean of 2 arms: dm, 53.0 %, n = 5: not compared with random"
    assert say(random=BASE) == "random, 51.0 %, n = 5: there is nothing to compare it with"
    assert say(dc=BASE) == "dc, 51.0 %, n = 5: not compared with random"
    assert verdict([], []).startswith("nothing to compare")


def test_the_ceiling_is_no_competitor():
    assert say(dc=BASE, full=shifted(*UP)) == "dc, 51.0 %, n = 5: not compared with random"
    assert say(random=BASE, dm=shifted(*FLAT), full=shifted(*UP)).startswith("dm, 51.4 %")
    assert say(full=BASE) == "nothing to compare: full is the ceiling, not a competitor"


def test_the_best_of_many_is_not_better_before_correction():
    best = (1.0, 1.9, 0.2, 1.6, 0.8)
    alone = say(random=BASE, dm=shifted(*best))
    assert alone.endswith("better than random (Holm p = 0.021)")
    many = say(random=BASE, dm=shifted(*best), dc=shifted(*FLAT), herding=shifted(*FLAT[::-1]))
    assert many.startswith("highest mean of 3 arms beside random: dm, 52.1 %, +1.1 points over random [0.3, 1.9], n = 5: ")
    assert many.endswith("no difference shown after correction for all comparisons (Holm p = 0.064)")


def test_weights_are_also_held_against_their_base_at_equal_seconds():
    arms = ["random", "dc", "dc+influence:tau=.1", "dc+shuffled:tau=.1", "dc:equal_seconds=influence,tau=.1"]
    other = "dc:equal_seconds=influence"  # of another arm
    assert references("dc+influence:tau=.1", [*arms, other]) == ["dc", arms[3], arms[4]]
    assert references(arms[4], arms) == ["random"]
    assert references("dc+shuffled:tau=.1", arms) == ["dc"]


def test_the_verdict_takes_the_base_of_equal_steps_for_uniform_and_names_equal_seconds():
    arms = {
        "dc": [50, 51, 50],
        "dc+influence": [60, 61, 61],
        "dc+shuffled": [50, 50, 51],
        "dc:equal_seconds=influence": [59, 61, 60],
    }
    rows = [{"arm": arm, "seed": s, "accuracy": a} for arm, values in arms.items() for s, a in enumerate(values)]
    line = verdict(summarise(rows), rows)
    assert "+10.3 points over uniform [" in line
    assert "over uniform at equal seconds +0.7 [" in line
    assert line.endswith("helped")
