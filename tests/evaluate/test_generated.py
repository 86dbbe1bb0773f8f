"""What generated sets are compared with, and what the verdict says of them."""

import pytest
import torch

from refluence.errors import in_flags
from refluence.evaluate import generated, summarise, verdict
from refluence.evaluate.at_chance import at_chance
from refluence.evaluate.references import base, by_chance, by_influence, kind, references
from refluence.generate.arms import VARIANTS, reads

ARMS = ["random", "dit", "dit+influence", "dit+deviation", "dit+igd", "dit+pool", "minimax", "minimax+igd", "minimax+pool"]


def related(arm: str, arms: list[str] = ARMS) -> dict[str, str]:
    return {other: kind(arm, other) for other in references(arm, arms)}


def rows_of(**arms: list[float]) -> list[dict]:
    return [
        {"arm": arm.replace("_", "+"), "seed": s, "protocol": "dsa-cpu", "accuracy": a}
        for arm, accuracies in arms.items()
        for s, a in enumerate(accuracies)
    ]


def near(mean: float, seed: int) -> list[float]:
    return (mean + 0.2 * torch.randn(5, generator=torch.Generator().manual_seed(seed))).tolist()


def said(**arms: list[float]) -> str:
    rows = rows_of(**arms)
    return verdict(summarise(rows), rows)


def test_what_steers_is_compared_with_the_same_denoiser_and_with_a_pool():
    for name in ("influence", "deviation", "igd"):
        assert related(f"dit+{name}") == {"dit": "uniform", "dit+pool": "rival"}
    assert related("minimax+igd") == {"minimax": "uniform", "minimax+pool": "rival"}
    assert related("dit+pool") == {"dit": "random"}
    assert related("minimax") == {"dit": "random"}
    assert related("minimax", ["random", "minimax"]) == related("dit") == {"random": "random"}
    assert related("random") == related("full", [*ARMS, "full"]) == {}


@pytest.mark.parametrize(
    ("arm", "other", "relation"),
    [
        ("dit+igd:k=10,cfg=4", "dit:cfg=4", "uniform"),
        ("dit+igd:k=10,cfg=4", "dit", ""),
        ("dit+igd:k=10,range=60%:90%", "dit+pool:by=influence,factor=3", "rival"),
        ("dit+igd:steps=20", "dit+pool:by=influence", ""),
        ("dit+igd:weights=influence", "dit+igd", "uniform"),
        ("dit+igd:k=1,weights=influence", "dit+igd:weights=shuffled,k=1", "control"),
        ("dit+igd:weights=influence", "dit+pool", ""),
        ("dit+igd:weights=shuffled", "dit+igd", "uniform"),
        ("minimax:minimax_iterations=9,cfg=1", "dit:cfg=1", "random"),
        ("minimax+igd", "dit", ""),
        ("dit+igd", "dit+influence", ""),
        ("dit+igd", "dc", ""),
        ("dit:cfg=4", "random", "random"),
        ("d4m:strength=.5,cfg=1", "dit:cfg=1", "random"),
        ("dit+modes:mode_scale=.2", "dit", "uniform"),
        ("d4m+entropy:entropy_scale=2", "d4m+pool", "rival"),
        ("dit+igd", "random", ""),
    ],
)
def test_arms_are_compared_at_the_same_numbers(arm, other, relation):
    assert kind(arm, other) == relation
    assert references(arm, [arm, other]) == ([other] if relation else [])


def test_the_options_that_mean_nothing_without_guidance_are_those_that_arms_read():
    assert set(generated.STEERED) | {generated.POOL} == set(VARIANTS)
    every = {key for variant in VARIANTS for key in reads(variant)}
    assert every - set(reads("uniform")) == generated.IDLE
    assert generated.TUNING in every


def test_who_steers_by_influence():
    assert [arm for arm in ARMS if by_influence(arm)] == ["dit+influence", "dit+igd", "minimax+igd"]
    assert [arm for arm in ARMS if by_chance(arm)] == ["random", "dit", "dit+pool", "minimax", "minimax+pool"]
    assert by_chance("dit+igd:weights=shuffled")
    assert base("dit+igd:k=10,cfg=4") == "dit:cfg=4"
    assert base("dit+igd:weights=influence") == "dit+igd"


def test_the_whole_of_igd_is_the_primary_comparison_whatever_stands_first():
    rows = rows_of(dit=near(80, 1), dit_influence=near(80, 2), dit_igd=near(81, 3))
    primary = [row for row in summarise(rows) if row["primary"]]
    assert [(row["arm"], row["against"]) for row in primary] == [("dit+igd", "dit")]


def test_helped_means_above_the_same_without_guidance_and_above_a_pool():
    igd = near(83, 3)
    assert said(dit=near(80, 1), dit_pool=near(81, 2), dit_igd=igd).endswith("n = 5: helped")
    assert "over dit+pool" in said(dit=near(80, 1), dit_pool=near(81, 2), dit_igd=igd)
    level = said(dit=near(80, 1), dit_pool=near(83, 2), dit_igd=igd)
    assert level.endswith("better than dit, but not shown to be better than dit+pool")
    assert said(dit=near(80, 1), dit_igd=igd).endswith("better than dit, but not compared with dit+pool")
    assert said(dit=near(84, 1), dit_pool=near(80, 2), dit_igd=igd).endswith("hurt")
    assert "no difference shown" in said(dit=near(83, 4), dit_pool=near(80, 2), dit_igd=igd)
    assert "not compared with dit: dit is not among the arms" in said(random=near(70, 1), dit_igd=igd)


def test_of_several_pools_the_strongest_decides():
    arms = {"dit": near(80, 1), "dit_pool": near(81, 2), "dit_pool:by=influence": near(83, 5), "dit_igd": near(83, 3)}
    rows = rows_of(**arms)
    assert verdict(summarise(rows), rows).endswith("not shown to be better than dit+pool:by=influence")


def test_weights_of_real_instances_need_to_beat_shuffled_ones():
    arm = "dit_igd:weights="
    rows = rows_of(**{"dit_igd": near(80, 1), f"{arm}influence": near(82, 2), f"{arm}shuffled": near(80, 3)})
    rows += rows_of(dit=near(80, 4), dit_pool=near(80, 5))
    line = verdict(summarise(rows), rows)
    assert line.startswith("dit+igd:weights=influence: ")
    assert "over shuffled weights" in line
    assert line.endswith("helped")


def test_without_guidance_the_best_method_is_named_with_what_it_is_compared_with():
    line = said(random=near(70, 1), dit=near(80, 2), minimax=near(83, 3), dit_pool=near(81, 4))
    assert line.startswith("highest mean of 3 arms: minimax, ")
    assert "points over dit" in line
    assert "better than dit (Holm p" in line


@pytest.mark.parametrize(
    ("arms", "classes", "says"),
    [
        ({"dit": [11.0, 9.5, 10.8], "dit_igd": [13.0]}, 10, "No sampled set is above chance (10 %): look at the samples"),
        ({"dit": [11.0, 9.5], "random": [40.0, 45.0]}, 10, "(--denoiser-iterations)"),
        ({"dit": [11.0, 9.5], "random": [9.0, 10.0]}, 10, "No set is above chance (10 %): train the networks that judge"),
        ({"dit": [50.0, 52.0, 49.0]}, 2, "(50 %)"),
        ({"dit": [11.0, 9.5], "dit_igd": [48.0, 80.0]}, 10, ""),
        ({"dit": [51.0, 51.1, 51.2]}, 2, ""),
        ({"random": [10.0, 10.1], "dm": [9.0, 10.0]}, 10, ""),
        ({"dit": [10.0], "full": [95.0]}, 10, "No sampled set"),
    ],
)  # fmt: skip
def test_sets_that_teach_nothing_are_named_with_what_may_help(arms, classes, says):
    with in_flags():
        said = at_chance(rows_of(**arms), classes)
    assert (says in said) if says else said == ""


def test_chance_is_that_of_classes_of_equal_size():
    rows = [{"arm": "dit", "seed": s, "accuracy": 90.0, "balanced_accuracy": 49.0 + s} for s in range(3)]
    assert "above chance (50 %)" in at_chance(rows, 2)
