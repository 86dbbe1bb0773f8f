"""The table of a recipe from given rows: means, paired differences, missing cells, published numbers."""

from statistics import fmean, stdev

import pytest

from refluence.errors import InputError
from refluence.recipes.find import recipes
from refluence.recipes.table import tabulate
from support.recipe_rows import made_up, row

FIG4B = recipes()["fig4b"]


def line(results, part, arm, protocol="iwd"):
    (found,) = [x for x in results["lines"] if (x["part"], x["arm"], x["protocol"]) == (part, arm, protocol)]
    return found


def test_means_and_paired_differences():
    part = FIG4B.parts("paper")[0]
    values = {"dc": [40, 42, 44], "dc+influence": [41, 42.5, 46], "dc+shuffled": [40.5, 42, 44]}
    rows = [row(FIG4B, part, arm, seed, float(a)) for arm, own in values.items() for seed, a in enumerate(own)]
    results = tabulate(FIG4B, [part], "paper", rows)
    found = line(results, part.name, "dc+influence")
    assert (found["mean"], found["sd"], found["n"], found["seeds"]) == (fmean([41, 42.5, 46]), stdev([41, 42.5, 46]), 3, 5)
    gains = {c["against"]: c for c in found["compared"]}
    assert gains["dc"]["difference"] == pytest.approx(fmean([1, 0.5, 2]))
    assert gains["dc+shuffled"]["difference"] == pytest.approx(fmean([0.5, 0.5, 2]))
    half = 4.302653 * stdev([1, 0.5, 2]) / 3**0.5  # t at .975 with 2 degrees of freedom
    assert gains["dc"]["low"] == pytest.approx(fmean([1, 0.5, 2]) - half, abs=1e-4)
    assert gains["dc"]["primary"]
    assert not gains["dc+shuffled"]["primary"]
    assert found["ess"] == 0.5
    assert results["parts"][0]["verdict"].startswith("influence weights: +1.2 points over uniform")


def test_missing_cells_are_there_and_counted():
    part, other = FIG4B.parts("paper")
    results = tabulate(FIG4B, [part, other], "paper", [row(FIG4B, part, "dc", 0, 40.0)], seeds=2)
    assert len(results["lines"]) == 2 * 2 * 7, "parts x protocols x arms, whatever has been run"
    assert line(results, part.name, "dc")["n"] == 1
    assert line(results, other.name, "dc")["mean"] is None
    assert line(results, part.name, "dc+influence")["compared"] == []
    assert any(note.startswith("28 of 28 lines have fewer seeds") for note in results["notes"])


def test_more_seeds_of_one_arm_are_paired_where_both_have_them():
    part = FIG4B.parts("paper")[0]
    rows = [row(FIG4B, part, "dc", s, a) for s, a in enumerate((10.0, 20.0, 90.0))]
    rows += [row(FIG4B, part, "dc+influence", s, a) for s, a in enumerate((11.0, 23.0))]
    (gain,) = line(tabulate(FIG4B, [part], "paper", rows), part.name, "dc+influence")["compared"]
    assert (gain["pairs"], gain["difference"]) == (2, 2.0)


@pytest.mark.parametrize(
    ("data", "said"), [("cifar10", False), ("uoft-cs/cifar10", False), ("cifar100", True), ("digits", True)]
)
def test_other_data_than_the_papers_are_named(data, said):
    part = FIG4B.parts("paper")[0]
    results = tabulate(FIG4B, [part], "paper", [row(FIG4B, part, "dc", 0, 40.0, data=data)])
    assert (f"Ours are on {data} where the paper has CIFAR-10." in results["notes"]) is said
    assert line(results, part.name, "dc")["is_set"] is not said


def test_a_changed_protocol_stands_in_the_place_of_the_parts():
    part = FIG4B.parts("paper")[0]
    results = tabulate(FIG4B, [part], "paper", [row(FIG4B, part, "dc", 0, 40.0, protocol="iwd:epochs=3")])
    assert list(dict.fromkeys(x["protocol"] for x in results["lines"])) == ["iwd:epochs=3", "dc"]


@pytest.mark.parametrize("change", [{"iterations": 4}, {"width": 9}, {"nets": [1.0]}])
def test_rows_that_were_not_made_alike_are_refused(change):
    part = FIG4B.parts("paper")[0]
    rows = [row(FIG4B, part, "dc", 0, 40.0), row(FIG4B, part, "dc", 1, 40.0, **change)]
    with pytest.raises(InputError, match="rows of part convnet3, arm dc are not alike"):
        tabulate(FIG4B, [part], "paper", rows)


@pytest.mark.parametrize("recipe", recipes().values(), ids=lambda recipe: recipe.name)
def test_every_published_number_has_its_line(recipe):
    results = tabulate(recipe, recipe.parts("paper"), "paper", made_up(recipe))
    shown = {(x["part"].partition("-")[0], x["ipc"], x["arm"]) for x in results["lines"] if isinstance(x["published"], dict)}
    arms = {arm for part in recipe.parts("paper") for arm in part.arms}
    assert bool(shown) == any(key[2] in arms for key in (*recipe.published, *recipe.by_network))
    assert all(x["n"] == 3 for x in results["lines"])
    assert not any("–" in note for note in results["notes"]) or any(part.seeds != 3 for part in recipe.parts("paper"))


def test_a_part_whose_sampled_sets_teach_nothing_says_so_first():
    recipe = recipes()["igd-table1"]
    part = recipe.parts("cpu")[0]
    for accuracy, begins in ((10.5, True), (60.0, False)):
        rows = [row(recipe, part, arm, seed, accuracy + seed / 10, classes=10) for arm in ("dit", "dit+igd") for seed in (0, 1)]
        found = tabulate(recipe, [part], "cpu", rows)["parts"][0]["verdict"]
        assert ("above chance (10 %)" in found) is begins
    older = [{k: v for k, v in each.items() if k != "classes"} for each in rows]
    assert "chance" not in tabulate(recipe, [part], "cpu", older)["parts"][0]["verdict"]
