"""Recipes of knowledge distillation: every arm is one that there is, both sizes ask the same, and all start and step."""

from dataclasses import fields, replace

import pytest

from refluence.data import SourceOptions
from refluence.evaluate.students import is_student
from refluence.jobs.catalogue import parse_arm
from refluence.options import TransferOptions
from refluence.recipes.base import SETS
from refluence.recipes.find import recipe_named, recipes
from refluence.recipes.making import Making
from refluence.recipes.table import tabulate
from refluence.recipes.trial import try_parts
from refluence.report.recipe import columns, markdown

OF_STUDENTS = [recipe for recipe in recipes().values() if recipe.parts("cpu")[0].of_students]
EVERY = [(recipe, size) for recipe in OF_STUDENTS for size in ("cpu", "paper")]


@pytest.mark.parametrize(("recipe", "size"), EVERY, ids=lambda value: getattr(value, "name", value))
def test_parts_name_what_there_is(recipe, size):
    parts = recipe.parts(size)
    assert len({part.name for part in parts}) == len(parts) > 0
    for part in parts:
        assert part.name.replace("-", "").isalnum(), "a folder's name"
        assert part.data in SETS
        assert [parse_arm(arm).name for arm in part.arms] == list(part.arms), "rows are found by the canonical name"
        assert all(is_student(parse_arm(arm)) or arm.startswith("semi") for arm in part.arms)
        assert {arm for pair in part.pairs for arm in pair} | {part.primary} <= {*part.arms, None}
        assert TransferOptions(size=size, **part.transfer).student
        assert {*part.source} <= {field.name for field in fields(SourceOptions)}
        assert part.clean is None or part.clean in {other.name for other in parts}


@pytest.mark.parametrize("recipe", OF_STUDENTS, ids=lambda recipe: recipe.name)
def test_both_sizes_ask_the_same(recipe):
    cpu, paper = recipe.parts("cpu"), recipe.parts("paper")
    assert [(p.name, p.arms, p.data, p.primary, p.pairs) for p in cpu] == [
        (p.name, p.arms, p.data, p.primary, p.pairs) for p in paper
    ]
    assert all(part.seeds >= 5 for part in paper)


@pytest.mark.parametrize("recipe", OF_STUDENTS, ids=lambda recipe: recipe.name)
def test_weights_stand_beside_none_and_shuffled_ones(recipe):
    for part in recipe.parts("cpu"):
        if recipe.name == "kd-semi":
            assert {"scratch", "semi", "semi+shuffled"} <= {*part.arms}
        elif recipe.name != "paper-code":
            assert {"scratch", "kd", "kd+shuffled", "student"} <= {*part.arms}


def test_the_code_of_the_paper_has_the_other_sign():
    part = recipe_named("paper-code").parts("paper")[0]
    code, turned = (parse_arm(arm) for arm in part.pairs[-1][::-1])
    assert (code.option("sign"), turned.option("sign")) == ("1", "-1")
    assert code.without({"sign"}).options == turned.without({"sign"}).options


def test_noise_keeps_a_share_of_the_accuracy_with_right_labels():
    recipe = recipe_named("kd-noise")
    parts = [part for part in recipe.parts("cpu") if part.data == "digits" and not part.name.endswith("-1")]
    about = {"data": "digits", "seed": 0, "protocol": "student", "nets": [1.0], "arm": "student", "model": "convnet"}
    about |= {"width": 32, "norm": "instance", "ess": 0.9, "seconds": 1.0, "peak_bytes": 1, "stored_bytes": 1}
    rows = [
        about | {"part": part.name, "accuracy": accuracy, "worst_class": 80.0, **weights}
        for part, accuracy, weights in zip(parts, (90.0, 81.0), ({}, {"noisy_weight": 0.7, "clean_weight": 1.1}), strict=True)
    ]
    results = tabulate(recipe, parts, "cpu", rows)
    kept = {line["part"]: line.get("kept") for line in results["lines"] if line["arm"] == "student"}
    assert kept == {"digits-0": None, "digits-2": pytest.approx(0.9)}
    assert {"worst class", "kept", "wrong", "right"} <= {*columns(results)}
    assert "| 0.900 | 0.70 | 1.10 |" in markdown(results)


@pytest.mark.parametrize("name", [recipe.name for recipe in OF_STUDENTS if "digits" in recipe.sets("cpu")])
def test_arms_start_and_step(name, tmp_path):
    recipe = recipe_named(name)
    making = Making(recipe=recipe, out=tmp_path, rows=tmp_path / "rows.jsonl")
    part = next(part for part in recipe.parts("cpu") if part.data == "digits")
    part = replace(part, transfer={**part.transfer, "teacher": "convnet1:4", "student": "convnet1:2"})
    lines = list(try_parts(making, [part], {"digits": "digits"}, 1))
    assert [line.split(": ")[1].split(":")[0] for line in lines] == [arm.split(":")[0] for arm in part.arms]


@pytest.mark.parametrize("name", ["kd-mechanisms", "kd-semi"])
def test_the_published_size_starts_and_steps(name, tmp_path):
    """With small networks: every other number is the published one."""
    recipe = recipe_named(name)
    making = Making(recipe=recipe, out=tmp_path, rows=tmp_path / "rows.jsonl", size="paper")
    part = next(part for part in recipe.parts("paper") if part.data == "digits")
    part = replace(part, arms=part.arms[-2:], transfer={**part.transfer, "teacher": "convnet1:4", "student": "convnet1:2"})
    assert len(list(try_parts(making, [part], {"digits": "digits"}, 1))) == 2
