"""Recipes: found by looking at the package, every arm and protocol is one that there is, published numbers are the paper's."""

from dataclasses import fields
from functools import reduce

import pytest

from refluence.condense import dc, idc
from refluence.condense.arms import changed
from refluence.errors import InputError
from refluence.evaluate.protocols import protocols
from refluence.evaluate.references import base, by_score, kind, references
from refluence.jobs.catalogue import parse_arm
from refluence.options import SourceOptions
from refluence.recipes.base import SETS, Part, Published, plain
from refluence.recipes.find import recipe_named, recipes
from refluence.recipes.iwd import AS_LONG
from refluence.recipes.remedies import TENTH
from refluence.recipes.table1 import COLUMNS, IDM_100, published

NAMES = {"table1", "fig3", "fig4a", "fig4b", "fig5", "terms", "rivals", "remedies", "iwd", "methods", "noisy", "targeted"}
OF_STUDENTS = {
    "kd-mechanisms",
    "kd-noise",
    "kd-semi",
    "kd-glue",
    "kd-validation",
    "kd-normalisation",
    "kd-imbalance",
    "paper-code",
}
OF_SAMPLED = {
    "igd-table1",
    "igd-imagenet",
    "igd-components",
    "igd-range",
    "igd-checkpoints",
    "igd-solvers",
    "igd-scales",
    "igd-surrogates",
    "igd-networks",
    "igd-cifar",
}
OF_DATA = {"noisy", "targeted"}  # what is done to the data is compared, not methods or weights: no herding
OF_SETS = [
    recipe for name, recipe in recipes().items() if name not in OF_STUDENTS | OF_SAMPLED
]  # the others: test_students.py, test_sampled.py
EVERY = [(recipe, size) for recipe in OF_SETS for size in ("cpu", "paper")]


def test_recipes_are_found():
    assert set(recipes()) == NAMES | OF_STUDENTS | OF_SAMPLED
    assert all(recipe_named(name).name == name for name in recipes())


def test_an_unknown_recipe_is_refused_with_what_there_is():
    with pytest.raises(InputError, match=r"unknown recipe 'fig4': did you mean fig4[ab]\? there are .*table1"):
        recipe_named("fig4")


@pytest.mark.parametrize(("recipe", "size"), EVERY, ids=lambda value: getattr(value, "name", value))
def test_parts_are_complete_and_name_what_there_is(recipe, size):
    parts = recipe.parts(size)
    assert len({part.name for part in parts}) == len(parts) > 0
    for part in parts:
        assert part.name.replace("-", "").isalnum(), "a folder's name"
        assert part.data in SETS
        assert {*part.source} <= {field.name for field in fields(SourceOptions)}
        assert part.protocols
        assert set(part.protocols) <= set(protocols())
        assert all(plain(name) == name for name in part.protocols) or size == "cpu"
        assert [parse_arm(arm).name for arm in part.arms] == list(part.arms), "rows are found by the canonical name"
        assert {arm for pair in part.pairs for arm in pair} <= set(part.arms)
    assert recipe.sets(size)[0] == "cifar10"


@pytest.mark.parametrize("recipe", OF_SETS, ids=lambda recipe: recipe.name)
def test_both_sizes_have_the_same_parts_and_the_published_one_five_seeds(recipe):
    cpu, paper = recipe.parts("cpu"), recipe.parts("paper")
    same = {IDM_100: "idm", TENTH["paper"]: TENTH["cpu"], AS_LONG["paper"]: AS_LONG["cpu"]}
    named = [[reduce(lambda name, pair: name.replace(*pair), same.items(), arm) for arm in part.arms] for part in paper]
    assert named == [list(part.arms) for part in cpu]
    assert [(p.name, p.ipc, p.model) for p in cpu] == [(p.name, p.ipc, p.model) for p in paper]
    assert all(part.seeds >= 5 for part in paper if part.arms != ("full",))
    changed = [part for part in paper if set(part.options) - {"split"}]
    assert all(part.data != "cifar10" for part in changed), "numbers that a method's page does not have: other sets' alone"
    assert recipe.name == "table1" or not changed


@pytest.mark.parametrize("size", ["paper", "cpu"])
def test_a_tenth_of_idcs_image_rate_is_one(size):
    rate = changed(idc.settings(10, size), parse_arm(f"idc:{TENTH[size]}")).image_lr
    assert rate == pytest.approx(idc.settings(10, size).image_lr / 10)


@pytest.mark.parametrize("recipe", OF_SETS, ids=lambda recipe: recipe.name)
def test_influence_arms_have_their_controls(recipe):
    for part in recipe.parts("paper"):
        for arm in part.arms:
            method, plus, weights = arm.partition("+influence")
            if plus and recipe.name not in ("fig4a", "fig5", "remedies"):
                assert {method, f"{method}+shuffled{weights}"} <= set(part.arms)


@pytest.mark.parametrize("name", sorted(NAMES - {"fig5", "remedies"} - OF_DATA))
def test_every_table_has_real_images_the_base_and_the_controls(name):
    """A set has its parts by family, or with changed numbers, whose rows serve them: what one part lacks another has."""
    for size in ("cpu", "paper"):
        parts = recipes()[name].parts(size)
        for data, ipc in {(part.data, part.ipc) for part in parts if part.arms != ("full",)}:
            arms = {arm for part in parts if (part.data, part.ipc) == (data, ipc) for arm in part.arms}
            assert {"random", "herding"} <= arms
            for method in {arm.partition("+")[0] for arm in arms if "+influence" in arm}:
                kinds = {arm.partition("+")[2].partition(":")[0] for arm in arms if arm.partition("+")[0] == method}
                wanted = {"influence", "shuffled"} if name == "table1" else {"influence", "shuffled", "loss", "flipped"}
                assert {method} <= arms
                assert wanted <= kinds, (name, method)


def cell(data, ipc, arm):
    return published()[data, ipc, arm]


def test_spots_of_table_1():
    assert cell("cifar10", 1, "random") == Published(14.4, 2.0)
    assert cell("cifar10", 10, "dc+influence") == Published(52.7, 0.6)
    assert cell("cifar10", 50, "pdd+influence") == Published(76.9, 0.3)
    assert cell("cifar100", 10, "idm") == Published(45.1, 0.1)
    assert cell("svhn", 1, "idc+influence") == Published(70.1, 0.3)
    assert cell("svhn", 50, "full") == Published(95.4, 0.1)
    cells = {key for key in published() if key[2] != IDM_100}  # a second name of one cell
    assert len(cells) == 9 * 10 - 3 - 1 - 1 - 5 - 5, "idm: no SVHN; idc: none of CIFAR-100 at 50; pdd: four columns"


@pytest.mark.parametrize(
    ("method", "data", "gains"),
    [
        ("dc", "cifar10", {1: 1.3, 10: 7.8, 50: 6.1 + 1.0}),  # 61.0 - 53.9 = 7.1: the text says 6.1
        ("dc", "cifar100", {1: 1.4, 10: 7.2, 50: 4.4}),
        ("dc", "svhn", {1: 3.2, 10: 2.5, 50: 1.1}),
        ("idc", "cifar10", {1: 0.9, 10: 0.8, 50: 0.4}),
        ("idc", "cifar100", {1: 0.7, 10: 1.0}),
        ("idc", "svhn", {1: 1.6, 10: 0.7, 50: 0.7}),
        ("pdd", "cifar10", {10: 0.9, 50: 0.4}),
        ("pdd", "cifar100", {10: 0.9, 50: 0.4}),
    ],
)
def test_the_gains_of_the_table_are_those_of_the_papers_text(method, data, gains):
    found = {
        ipc: cell(data, ipc, f"{method}+influence").mean - cell(data, ipc, method).mean
        for name, ipc in COLUMNS
        if name == data and (data, ipc, method) in published()
    }
    assert found == pytest.approx(gains)


def test_a_number_stands_under_its_own_protocol_alone():
    recipe = recipes()["table1"]
    part = Part("x", "cifar10", 10, ("dc", "dc+influence", "dream"), ("iwd", "dc"))
    assert recipe.publication(part, "dc", "dc") == Published(44.9, 0.5)
    assert recipe.publication(part, "dc", "iwd") == ""
    assert recipe.publication(part, "dc+influence", "iwd-cpu:epochs=3") == Published(52.7, 0.6)
    assert recipe.publication(part, "dc+influence", "dc") == ""
    assert recipe.publication(part, "dream", "dc") == "none"
    assert recipes()["fig4a"].publication(part, "dc+influence:tau=1", "iwd") == "in a figure only"
    for name in ("table1", "fig3", "fig4a", "rivals", "iwd", "terms"):
        assert recipes()[name].publication(part, "random", "dc-cpu") == Published(26.0, 1.2)
        assert recipes()[name].publication(part, "random", "idc-cpu") == ""


def test_other_sets_have_the_numbers_that_their_authors_gave_them():
    """IDC's and PDD's misc/reproduce.py and README, IDM's command.txt."""
    parts = {part.name: part for part in recipe_named("table1").parts("paper")}
    assert {name: part.options for name, part in parts.items() if part.options} == {
        **{f"svhn-ipc{ipc}-{family}": {"inner": 8} for family in ("idc", "pdd") for ipc in (1, 10, 50)},
        **{f"cifar100-ipc{ipc}-pdd": {"iterations": 500_000} for ipc in (10, 50)},
    }
    changed = {name: arm for name, part in parts.items() for arm in part.arms if arm.startswith("idm:")}
    assert changed == {"cifar100-ipc10-idm": "idm:inner=50,calibration=10"}
    assert published()["cifar100", 10, changed["cifar100-ipc10-idm"]] == Published(45.1, 0.1)


@pytest.mark.parametrize("size", ["paper", "cpu"])
def test_as_long_is_longer_by_what_weights_cost(size):
    part = next(part for part in recipes()["iwd"].parts(size) if part.name == "dc-ipc10")
    steps = part.options.get("iterations", dc.settings(10, size).iterations)
    assert changed(dc.settings(10, size), parse_arm(f"dc:{AS_LONG[size]}")).iterations == round(1.35 * steps)


@pytest.mark.parametrize("name", sorted(OF_DATA))
@pytest.mark.parametrize("size", ["paper", "cpu"])
def test_what_a_score_does_to_data_stands_beside_chance_and_loss(name, size):
    """`targeted` weighs by no loss: its issue names no such row."""
    for part in recipes()[name].parts(size):
        assert {"random", "dm", *(f"{method}+pruned:by=truth" for method in ("random", "dm"))} <= set(part.arms)
        assert by_score(part.primary)
        for arm in filter(by_score, part.arms):
            kinds = {kind(arm, other) for other in references(arm, part.arms, part.pairs)}
            wanted = {"uniform", "control"} if name == "targeted" and "+scores" in arm else {"uniform", "control", "rival"}
            assert wanted <= kinds, arm
            assert base(arm) in part.arms


def test_shares_are_estimated_where_labels_are_wrong_and_given_where_they_are_right():
    for part in recipes()["noisy"].parts("cpu"):
        assert not any("keep=." in arm or "share=" in arm for arm in part.arms)
    for part in recipes()["targeted"].parts("cpu"):
        assert all(arm.endswith("keep=.5") for arm in part.arms if "+pruned" in arm and "truth" not in arm)
