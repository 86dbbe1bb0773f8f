"""Tables, figures and page of a recipe, drawn from its results alone."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from refluence.files import write_json
from refluence.recipes.find import recipes
from refluence.recipes.table import tabulate
from refluence.report import write_recipe
from refluence.report.recipe import cells, columns, grid
from refluence.report.recipe_figure import GAP, NAMES, TILE, gallery, tau_of, temperatures
from refluence.report.recipe_sweep import sweep
from support.recipe_rows import made_up


def results_of(name, size="paper", rows=None):
    recipe = recipes()[name]
    return tabulate(recipe, recipe.parts(size), size, made_up(recipe) if rows is None else rows)


@pytest.mark.parametrize("name", sorted(name for name, recipe in recipes().items() if recipe.picture not in ("", "gallery")))
def test_figures_are_pictures(name, tmp_path):
    write_json(tmp_path / "results.json", results_of(name))
    written = {path.name for path in write_recipe(tmp_path)}
    assert written == {"table.md", "figure.png", "figure.svg", "report.html"}
    picture = Image.open(tmp_path / "figure.png")
    picture.load()
    assert (picture.format, picture.width > 300, picture.height > 300) == ("PNG", True, True)
    assert len(set(picture.convert("L").tobytes())) > 20, "something is drawn"
    drawn = (tmp_path / "figure.svg").read_text()
    assert drawn.startswith("<svg")
    for part in recipes()[name].parts("paper"):
        assert part.name in drawn


def test_without_rows_there_is_a_table_and_no_figure(tmp_path):
    write_json(tmp_path / "results.json", results_of("fig3", rows=[]))
    assert {path.name for path in write_recipe(tmp_path)} == {"table.md", "report.html"}
    assert "| dc+pruned | iwd | – / in a figure only |" in (tmp_path / "table.md").read_text()


def test_ours_stand_beside_the_published(tmp_path):
    results = results_of("table1")
    heads, rows = grid(results)
    assert heads[:4] == ["arm", "protocol", "CIFAR-10, 1 a class", "CIFAR-10, 10 a class"]
    by_arm = {(r[0], r[1]): dict(zip(heads, r, strict=True)) for r in rows}
    assert by_arm["dc+influence", "iwd"]["CIFAR-10, 10 a class"].endswith(" (3) / 52.7 ± 0.6")
    assert by_arm["dc", "dc"]["SVHN, 50 a class"].endswith(" (3) / 82.3 ± 0.3")
    assert by_arm["dc", "iwd"]["SVHN, 50 a class"].endswith(" (3) / –")
    own = next(x for x in results["lines"] if (x["part"], x["arm"]) == ("cifar10-ipc1-idc", "idc+influence"))
    shown = next(c for c in cells(results) if c[:2] == ["cifar10-ipc1-idc", "idc+influence"])
    assert shown[3] == f"{own['mean']:.1f} ± {own['sd']:.1f}"
    assert shown[4] == "3 of 5"
    assert shown[6] == "idc"
    assert shown[-1] == "51.5 ± 0.5"


def test_the_page_is_one_file(tmp_path):
    write_json(tmp_path / "results.json", results_of("fig4a"))
    write_recipe(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert "The paper says (in our words)" in page


@pytest.mark.parametrize(
    ("arm", "tau"),
    [("dc", None), ("dc+influence:tau=.1", 0.1), ("dc+influence:tau=auto,ess=.5", None), ("dc+influence:sign=-1,tau=10", 10.0)],
)
def test_temperatures_are_read_from_the_arm(arm, tau):
    assert tau_of(arm) == tau


def test_a_curve_of_temperatures_is_of_one_kind_of_weights():
    lines = results_of("fig4a")["lines"]
    assert any(line["arm"] == "dc+shuffled:tau=1" for line in lines)
    chart = temperatures([line for line in lines if line["protocol"] == "iwd"]).to_dict()
    points = [(value["part"], value["tau"]) for value in chart["data"]["values"]]
    curves = [point for point in points if point[1] is not None]
    assert len(curves) == len(set(curves)) == 6 * 5
    assert [part for part, tau in points if tau is None] == [f"ipc{n}{unit}" for unit in ("", "-raw") for n in (1, 10, 50)]
    assert chart["resolve"]["scale"] == {"y": "independent"}, "a curve fills its own panel"


def test_images_of_a_class_stand_in_the_order_of_their_influence(tmp_path):
    place = tmp_path / "ipc1" / "pooled" / "distilled"
    place.mkdir(parents=True)
    greys, influence = torch.tensor([0.9, 0.1, 0.5, 0.7, 0.3, 0.2]), torch.tensor([3.0, -1.0, 0.0, 5.0, -2.0, 2.0])
    images = greys.view(6, 1, 1, 1).expand(6, 1, 4, 4).contiguous()
    save_file({"images": images, "labels": torch.arange(6) % 2, "influence": influence}, place / "images.safetensors")
    write_json(place / "card.json", {"classes": ["zero", "one"], "mean": [0.0], "std": [1.0], "arm": "dc+influence"})
    sheet = np.asarray(Image.open(io.BytesIO(gallery({"parts": [{"part": "ipc1"}]}, tmp_path)["png"])).convert("L")) / 255
    centre = [
        [float(sheet[GAP + (TILE + GAP) * y + TILE // 2, NAMES + (TILE + GAP) * x + TILE // 2]) for x in range(3)]
        for y in range(2)
    ]
    assert centre[0] == pytest.approx([0.3, 0.5, 0.9], abs=0.01), "influence -2, 0, 3"
    assert centre[1] == pytest.approx([0.1, 0.2, 0.7], abs=0.01), "influence -1, 2, 5"


def swept(arm, mean, influence=None, part="nette"):
    return {"part": part, "set": "ImageNette", "ipc": 10, "arm": arm, "mean": mean, "sd": 0.4, "influence": influence}


def test_a_sweep_is_over_the_number_by_which_the_arms_of_a_part_differ():
    lines = [swept("dit", 76.0, 0.6), *(swept(f"dit+igd:k={k},gamma=50", 77.0 + k / 10, 0.6 - k / 100) for k in (0, 5, 15))]
    lines += [swept(f"minimax+igd:gamma={gamma}", 80.0, part="other") for gamma in (10, 120)]
    chart = sweep(lines).to_dict()
    titles = [panel["title"]["text"] for panel in chart["concat"]]
    assert titles == ["nette: accuracy", "other: accuracy", "nette: influence"]
    line = chart["concat"][2]["layer"][1]
    shown = [(v["x"], round(v["influence"], 9)) for v in line["data"]["values"]]
    assert shown == [(0.0, 0.6), (5.0, 0.55), (15.0, 0.45)]
    assert {v["name"] for v in line["data"]["values"]} == {"dit+igd:gamma=50"}
    assert [v["name"] for v in chart["concat"][0]["layer"][0]["data"]["values"]] == ["dit"]
    assert chart["concat"][1]["layer"][2]["encoding"]["x"]["title"] == "γ"
    scales = [chart["concat"][panel]["layer"][2]["encoding"]["y"]["scale"] for panel in (0, 1)]
    assert scales[0] == scales[1], "parts of one set are read by one scale"
    other = sweep([*lines[:4], {**lines[5], "set": "ImageWoof"}, {**lines[4], "set": "ImageWoof"}]).to_dict()
    assert "domain" not in other["concat"][0]["layer"][2]["encoding"]["y"]["scale"]


def test_arms_that_differ_by_no_number_have_no_sweep():
    assert sweep([swept("dit", 76.0), swept("dit+igd:k=5", 77.0), swept("dit:solver=dpm", 75.0)]) is None


def test_numbers_beside_real_images_have_columns_where_a_line_has_them():
    results = results_of("fig3")
    assert "coverage %" not in columns(results)
    results["lines"][0]["coverage"] = 65.44
    assert cells(results)[0][columns(results).index("coverage %")] == "65.4"
