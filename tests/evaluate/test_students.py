"""What students are compared with, and what the verdict says of them."""

import pytest
import torch

from refluence.arm import read_arm
from refluence.evaluate import students, summarise, verdict
from refluence.evaluate.references import base, by_chance, by_influence, kind, references
from refluence.influence.weighting import Weighting
from refluence.transfer.arms import READ
from refluence.transfer.settings import Settings

ARMS = ["scratch", "kd", "kd:also=validation", "kd+shuffled", "kd+loss", "kd+adapt", "kd+influence", "joint", "joint+shuffled"]


def related(arm: str, arms: list[str] = ARMS) -> dict[str, str]:
    return {other: kind(arm, other) for other in references(arm, arms)}


def _named(arm: str) -> str:
    for short, whole in {"__": "+", "_also": ":also=validation", "_mse": ":loss=mse", "_half": ":alpha=0.5"}.items():
        arm = arm.replace(short, whole)
    return arm


def rows_of(**arms: list[float]) -> list[dict]:
    return [
        {"arm": _named(arm), "seed": s, "protocol": "student", "accuracy": a}
        for arm, accuracies in arms.items()
        for s, a in enumerate(accuracies)
    ]


def near(mean: float, seed: int, spread: float = 0.2) -> list[float]:
    return (mean + spread * torch.randn(5, generator=torch.Generator().manual_seed(seed))).tolist()


def said(**arms: list[float]) -> str:
    rows = rows_of(**arms)
    return verdict(summarise(rows), rows)


def test_a_mechanism_is_compared_with_kd_its_shuffled_weights_and_its_rivals():
    rivals = {"kd:also=validation": "rival", "kd+loss": "rival", "kd+adapt": "rival"}
    assert related("joint") == {"kd": "uniform", "joint+shuffled": "control", **rivals}
    assert related("kd+influence") == {"kd": "uniform", "kd+shuffled": "control", **rivals}
    assert related("kd") == {"scratch": "random"}
    assert related("kd:also=validation") == {"kd": "uniform", "scratch": "random"}
    assert related("kd+shuffled") == related("kd+loss") == related("joint+shuffled") == {"kd": "uniform"}
    assert related("scratch") == {}


def test_student_is_another_name_of_kd_with_influence():
    arms = ["kd", "student", "kd+shuffled", "kd:equal_seconds=influence", "kd:equal_seconds=joint"]
    assert related("student", arms) == {
        "kd": "uniform",
        "kd+shuffled": "control",
        "kd:equal_seconds=influence": "equal_seconds",
    }
    assert related("kd+influence", ["student+shuffled"]) == {"student+shuffled": "control"}
    assert related("joint", arms) == {"kd": "uniform", "kd:equal_seconds=joint": "equal_seconds"}


@pytest.mark.parametrize(
    ("arm", "other", "relation"),
    [
        ("joint:epochs=5,teacher_lr=.1,tau=2", "kd:epochs=5", "uniform"),
        ("joint:epochs=5", "kd", ""),
        ("joint:epochs=5", "kd:epochs=5,curvature=ggn", "uniform"),
        ("joint:tau=2", "joint+shuffled:tau=2", "control"),
        ("joint:tau=2", "joint+shuffled", ""),
        ("staged", "joint+shuffled", ""),
        ("teacher", "kd+loss:tau=2", "rival"),
        ("teacher:epochs=5", "kd+loss", ""),
        ("kd:temperature=2", "scratch", "random"),
        ("kd:epochs=5", "scratch", ""),
        ("joint:also=validation", "kd:also=validation", "uniform"),
        ("joint:also=validation", "kd", ""),
        ("joint", "scratch", ""),
        ("joint", "dc", ""),
        ("kd+loss", "kd+shuffled", ""),
        ("semi+influence:steps=200", "semi:steps=200", "uniform"),
        ("semi+influence:steps=200", "semi", ""),
        ("semi+influence", "semi+shuffled", "control"),
        ("semi:steps=200", "scratch:batch=32,epochs=667", "random"),
        ("semi", "kd", ""),
        ("semi+influence:steps=20", "semi:equal_seconds=influence,steps=20", "equal_seconds"),
        ("semi+influence", "kd:equal_seconds=influence", ""),
        ("kd", "kd:equal_seconds=student", ""),
    ],
)
def test_arms_are_compared_at_the_same_numbers(arm, other, relation):
    assert kind(arm, other) == relation
    assert references(arm, [arm, other]) == ([other] if relation else [])


def test_the_base_is_named_without_what_means_nothing_to_it():
    assert base("joint:epochs=5,teacher_lr=.1,curvature=ggn") == "kd:epochs=5"
    assert base("kd+influence:tau=2") == base("kd:also=validation") == "kd"
    assert base("kd:temperature=2,epochs=5") == "scratch:epochs=5"
    assert base("dc+influence:tau=.1") == "dc"


def test_what_weighs():
    assert [arm for arm in ARMS if by_influence(arm)] == ["kd+influence", "joint"]
    assert [arm for arm in ARMS if not by_chance(arm)] == ["kd+loss", "kd+adapt", "kd+influence", "joint"]
    assert by_chance("kd+random")


def test_options_and_mechanisms_are_those_of_the_package():
    from refluence.jobs.catalogue import methods
    from refluence.transfer.mechanism import Mechanism

    known = {name: each for name, each in methods().items() if isinstance(each, Mechanism)}
    for name, each in known.items():
        assert students.is_student(read_arm(name))
        assert by_influence(name) == (each.weighs or each.teacher == "weighted"), name
    assert set(students.OF_WEIGHTS) == set(READ) <= {f for f in Weighting.__dataclass_fields__}
    own = set(Settings.__dataclass_fields__)
    assert {*students.OF_SCORES, *students.OF_TEACHER, *students.OF_IMITATION, students.ALSO} <= own


def test_helped_needs_kd_and_the_shuffled_weights():
    better = {"scratch": near(90, 1), "kd": near(92, 2), "joint": near(94, 3)}
    assert said(**better, joint__shuffled=near(92, 4)).endswith("n = 5: helped")
    assert said(**better, joint__shuffled=near(94, 5)).endswith(
        "better than kd, but not shown to be better than shuffled weights"
    )
    assert said(**better).endswith("better than kd, but not compared with shuffled weights")
    line = said(**better, joint__shuffled=near(92, 4), kd__loss=near(94, 6), kd__adapt=near(92, 7), kd_also=near(94, 8))
    assert line.startswith("joint: +2.0 points over kd [1.9, 2.2]"), line
    assert "over shuffled weights +" in line
    assert "over kd+loss " in line
    assert line.endswith("helped; not shown to be better than kd+loss, kd:also=validation"), line


def test_a_teacher_that_teaches_nothing_comes_first():
    worse = {"scratch": near(92, 1), "kd": near(40, 2), "joint": near(39, 3)}
    line = said(**worse)
    assert line.startswith("kd is worse than the student alone by 52.1 points [51.8, 52.4]: this teacher teaches nothing. "), (
        line
    )
    assert line.partition(". joint: ")[2].startswith("-1.0 points over kd"), line
    assert said(scratch=near(92, 1), kd=near(93, 2), joint=near(94, 3)).startswith("joint: ")
    assert said(scratch=near(92, 1), kd=near(40, 2)).startswith("kd, 40.0 %, -52.1 points over scratch"), "it says so itself"
    rows = rows_of(**{**worse, "kd": near(93, 2)})
    for row in rows:
        row |= {} if row["arm"] == "scratch" else {"teacher_accuracy": 80.0}
    assert verdict(summarise(rows), rows).startswith("the teacher (80.0 %) is less accurate than scratch (92.0 %). joint: ")


def test_every_arm_below_the_student_alone_is_named_where_none_has_weights():
    line = said(scratch=near(92, 1), kd=near(40, 2), kd_mse=near(95, 3), kd_half=near(50, 4))
    assert line.startswith(
        "kd is worse than the student alone by 52.1 points [51.8, 52.4]; kd:alpha=0.5 is worse than the student alone by 4"
    ), line
    assert ". highest mean of 3 arms beside scratch: kd:loss=mse, " in line


def test_a_long_line_names_only_the_intervals_that_decide():
    rivals = {"kd__loss": near(90, 6), "kd__adapt": near(94, 7), "kd__shuffled": near(90, 8)}
    line = said(scratch=near(80, 1), kd=near(92, 2), joint=near(90, 3), joint__shuffled=near(90, 4), **rivals)
    assert [line.count(" over "), line.count("["), line.endswith(", n = 5: hurt")] == [1, 1, True], line
    line = said(scratch=near(80, 1), kd=near(90, 2), joint=near(94, 3), joint__shuffled=near(92, 4), **rivals)
    assert "over kd+adapt " in line
    assert "over kd+loss " not in line


def test_other_endings_of_the_line():
    assert said(kd=near(92, 2), joint=near(90, 3)).endswith("hurt")
    assert "no difference shown; n = 5 could show" in said(kd=near(92, 2), kd__influence=near(92, 3))
    assert said(scratch=near(90, 1), joint=near(92, 3)) == "joint: not compared with kd: kd is not among the arms"
    only = said(scratch=near(90, 1), kd=near(92, 2))
    assert only.startswith("highest mean of 1") is False
    assert only.startswith("kd, 9")
    assert "points over scratch [" in only
    assert "better than scratch (Holm p" in only
    assert said(kd=near(92, 2)).endswith("not compared with scratch")


def test_the_first_arm_that_weighs_is_primary():
    rows = rows_of(scratch=near(90, 1), kd=near(92, 2), kd__loss=near(92, 3), joint=near(93, 4))
    assert [(row["arm"], row["against"]) for row in summarise(rows) if row["primary"]] == [("joint", "kd")]
