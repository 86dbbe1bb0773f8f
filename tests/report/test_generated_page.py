"""Pages of sampled sets and of denoisers: every number of their folder, in words a newcomer reads."""

import json
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from refluence import report
from refluence.report import marks, quality, sampled
from refluence.report.generated import section
from refluence.report.pictures import data_uri, visible
from refluence.report.reading import read_results, read_unit, read_units
from refluence.report.same_noise import same_noise
from refluence.report.sampled import chosen, facts
from refluence.report.verdict import arms_of, colours
from report import fabricate_generated
from report.test_page import Outline


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("generated")
    folders = {
        "compare": fabricate_generated.compare(root / "compare", classes=[str(i) for i in range(10)]),
        "unit": fabricate_generated.unit(root / "unit"),
        "bare": fabricate_generated.unit(root / "bare", "dit", quality=False, batches=1),
        "denoiser": fabricate_generated.denoiser(root / "denoiser"),
    }
    for folder in folders.values():
        report.write(folder)
    return folders


@pytest.fixture(scope="module")
def words(made):
    pages = {kind: (folder / "report.html").read_text(encoding="utf-8") for kind, folder in made.items()}
    return {kind: unescape(Outline(page).text) for kind, page in pages.items()}


def test_a_run_says_how_it_was_sampled_and_shows_no_section_of_other_families(words):
    text = words["unit"]
    for part in (
        "243 137 parameters, trained in 31 s",
        "50 steps of ddim, classifier-free guidance 2",
        "In 15 of 50 steps, 6 to 20, counted from the noisiest. k 5, γ 50.",
        "convnet3, 10 epochs, trained in 8.2 s",
        "12 s for 40 images, 0.312 s each",
        "In the order in which they were sampled.",
        "Influence energy of each class",
        "Redundancy of each class",
    ):
        assert part in text, part
    for part in ("No scores of real instances", "Matching loss", "Influence over time", "Real images, chosen", "ESS"):
        assert part not in text, part


def test_what_is_missing_is_left_out(words):
    text = words["bare"]
    assert "Steered not at all" in text
    for part in ("γ", "What guided the sampling", "Surrogate", "Where the images lie", "Fréchet distance ↓"):
        assert part not in text, part
    assert "What the sampling measured" in text


def test_few_batches_are_told_in_words(tmp_path):
    fabricate_generated.unit(tmp_path / "run", batches=2)
    text = Outline(report.write(tmp_path / "run").read_text(encoding="utf-8")).text
    assert "Energy at the end: dit+igd 0.59." in text
    assert "Too few points" not in text


def test_a_comparison_has_the_same_noise_side_by_side(made):
    found = same_noise(read_units(made["compare"]), {"dit": "random", "dit+igd": "dit", "minimax": "dit"})
    assert [len(block.rows) for block in found.blocks] == [4, 4, 4]
    assert {row.arm for row in found.blocks[0].rows} == {"dit", "dit+influence", "dit+igd", "minimax"}
    assert all(len(row.tiles) == len(block.classes) == 10 for block in found.blocks for row in block.rows)
    changed = {row.arm: row.change for row in found.blocks[0].rows}
    assert changed["dit"] == changed["dit+influence"] == ""
    assert changed["dit+igd"].endswith("% from dit")
    assert changed["minimax"] == "0.0 % from dit"
    assert any("dit+pool" in note for note in found.notes)


def test_the_pictures_of_a_column_are_of_one_class_and_place(made):
    units = read_units(made["compare"])
    images = {unit.arm: load_file(unit.folder / "distilled" / "images.safetensors") for unit in units if unit.seed == "0"}
    stored = images["dit+igd"]
    second = np.flatnonzero(stored["labels"] == 3)[1]
    shown = same_noise(units, {}).blocks[1].rows
    tile = next(row for row in shown if row.arm == "dit+igd").tiles[3]
    assert tile.uri == data_uri(visible(stored["images"][second : second + 1], [0.4] * 3, [0.3] * 3)[0])
    assert tile.words == "dit+igd, 3, noise 2"


def test_one_arm_alone_has_nothing_beside_it(made):
    assert same_noise([unit for unit in read_units(made["compare"]) if unit.arm == "dit"], {}) is None


def test_numbers_beside_real_images_are_paired_by_seed(made, words):
    units, results = read_units(made["compare"]), read_results(made["compare"])
    own = quality.by_arm(units, "frechet")
    pairs = [own["dit+igd"][seed] - own["dit"][seed] for seed in own["dit"]]
    half = 4.302653 * np.std(pairs, ddof=1) / np.sqrt(3)
    said = quality.difference(pairs, 1)
    assert said == f"{np.mean(pairs):+.1f} [{np.mean(pairs) - half:.1f}, {np.mean(pairs) + half:.1f}]".replace("-", "−")
    assert said in words["compare"]
    found = section(units, results, colours(arms_of(results)), compare=True)
    assert {row.line.arm: row.against for row in found.quality}["minimax"] == "dit"
    assert {each.arm for each in found.clouds} == {each.arm for each in found.heat_maps} == set(fabricate_generated.ARMS)


def test_no_interval_of_one_seed_and_of_equal_differences():
    assert quality.difference([-0.5], 2) == "−0.50"
    assert quality.difference([1.0, 1.0], 1) == "+1.0"
    assert quality.difference([], 1) == ""
    assert [quality.decimals(values) for values in ([0.061, 0.0612], [81.2], [9.1, 8.0], [0.0], [1234.0])] == [4, 1, 2, 1, 0]


def test_influence_of_cards_stands_in_only_where_none_was_measured_beside_real_images(made, tmp_path):
    assert quality.by_arm(read_units(made["compare"]), "influence")["random"]
    bare = fabricate_generated.compare(tmp_path / "bare", quality=False, seeds=2)
    assert set(quality.by_arm(read_units(bare), "influence")) == {"dit+influence", "dit+igd", "dit+pool"}
    mixed = [*read_units(bare), *read_units(made["compare"])[:1]]
    assert set(quality.by_arm(mixed, "influence")) == {mixed[-1].arm}


@pytest.mark.parametrize(
    "other",
    [
        {"guide": {"model": {"name": "resnet18"}}},
        {"weighting": {"scheme": "scores"}},
        {"sampling": {"guidance": {"averaging": "equal"}}},
    ],
)
def test_influence_of_cards_at_other_surrogates_is_not_on_one_scale(tmp_path, other):
    bare = fabricate_generated.compare(tmp_path / "bare", quality=False, seeds=2)
    arms = ["dit+influence", "dit+igd", "dit+pool"]
    units, results = read_units(bare), read_results(bare)
    paint = colours(arms_of(results))
    assert set(quality.by_arm(units, "influence")) == set(arms)
    assert section(units, results, paint, compare=True).fig1
    mixed = [
        replace(unit, config={"job": {**unit.config["resolved"]["job"], **other}}) if unit.arm == arms[0] else unit
        for unit in units
    ]
    found = section(mixed, results, paint, compare=True)
    assert quality.by_arm(mixed, "influence") == {}
    assert found.fig1 is None
    assert "do not compare" in found.scale_words
    assert "do not compare" in found.figures[0].words
    assert not {cell.head for row in found.quality for cell in row.cells} & {"Influence energy\u00a0↓"}


def test_it_is_said_whether_the_surrogate_that_measures_guides_too(made):
    units, results = read_units(made["compare"]), read_results(made["compare"])
    paint = colours(arms_of(results))
    assert "which favours the arms that it guides" in section(units, results, paint, compare=True).surrogate_words
    apart = [replace(unit, quality={**unit.quality, "measuring": {"seed": 1}}) for unit in units]
    assert "which guided none" in section(apart, results, paint, compare=True).surrogate_words


def test_costs_stand_apart(made):
    units, results = read_units(made["compare"]), read_results(made["compare"])
    costs = section(units, results, colours(arms_of(results)), compare=True).costs
    assert costs.heads == ["Denoiser", "Minimax", "Surrogate", "Sampling", "An image", "Images sampled"]
    rows = {line.arm: cells for line, cells in costs.rows}
    assert rows["dit"] == ["31 s", "–", "–", "12 s", "0.125 s", "100"]
    assert rows["dit+pool"] == ["31 s", "–", "8.2 s", "12 s", "0.0417 s", "300"]
    assert rows["minimax"][1] == "14 s"


def test_a_licence_is_named(made, tmp_path):
    folder = fabricate_generated.unit(tmp_path / "run")
    card = json.loads((folder / "distilled" / "card.json").read_text())
    card["denoiser"]["licence"] = "CC BY-NC 4.0: not for sale"
    (folder / "distilled" / "card.json").write_text(json.dumps(card))
    assert dict(sampled.facts(read_unit(folder)))["Licence"] == "CC BY-NC 4.0: not for sale"


def test_a_denoiser_has_its_loss_its_samples_and_its_facts(made, words):
    text = words["denoiser"]
    assert "A denoiser of 3 classes for images of 1 × 8 × 8: 243 137 parameters, trained in 31 s." in text
    for part in ("transformer (DiT), width 64, depth 4", "flow matching", "From 1.700 to 0.271.", "<b>third</b>", "a note"):
        assert part in text, part
    page = Outline((made["denoiser"] / "report.html").read_text(encoding="utf-8"))
    assert len(page.all("img")) == 24


def test_a_denoiser_without_samples_and_steps_says_so(tmp_path):
    fabricate_generated.denoiser(tmp_path / "run", blocks=1, drawn=False)
    text = Outline(report.write(tmp_path / "run").read_text(encoding="utf-8")).text
    assert "No samples are stored beside this denoiser" in text
    assert "Too few steps are recorded in this folder for a curve." in text


def test_a_fine_tuned_denoiser_has_the_numbers_and_losses_of_its_fine_tuning(tmp_path):
    folder = fabricate_generated.denoiser(tmp_path / "run", drawn=False)
    card = json.loads((folder / "denoiser" / "card.json").read_text()) | {"method": "minimax", "moved": 2000}
    card |= {"finetuning": {"iterations": 90, "batch": 8, "lr": 1e-3}}
    (folder / "denoiser" / "card.json").write_text(json.dumps(card))
    lines = [{"step": i, "loss": 0.3, "away": 0.9 - i / 100, "alike": 0.5} for i in range(3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = Outline(report.write(folder).read_text(encoding="utf-8")).text
    for part in (
        "fine-tuned by Minimax in 31 s.",
        "Steps 90",
        "Images a step 8",
        "Fine-tuned 2 000 parameters",
        "Away: one less",
    ):
        assert part in text, part


def test_points_keep_their_shape_and_a_matrix_has_no_diagonal():
    drawing = str(marks.cloud([([(0.0, 0.0), (10.0, 5.0)], "#7b828d", 2.0)], "two <points>"))
    assert 'd="M6.0 120.0h0M234.0 6.0h0"' in drawing
    assert "two &lt;points&gt;" in drawing
    heat = str(marks.heat([[99.0, 60.0], [70.0, 99.0]], (60.0, 70.0), "two parts"))
    assert ">60<" in heat
    assert ">70<" in heat
    assert ">99<" not in heat
    assert 'fill-opacity="0.06"' in heat
    assert 'fill-opacity="0.60"' in heat


@pytest.mark.parametrize(("candidates", "left_out"), [(2, True), (1, False)])
def test_the_better_of_two_candidates_is_in_no_column(candidates, left_out):
    guidance = {"learnability": True, "candidates": candidates, "stages": 5}
    unit = SimpleNamespace(arm="dit+learnability", config={"resolved": {"unit": {"sampling": {"guidance": guidance}}}}, card={})
    assert chosen(unit) is left_out
    unit.card = {"sampled": 30, "images": 20, "stages": 2, "steps": 50, "guided_steps": [5, 6]}
    said = dict(facts(unit))
    assert "2 stages" in said["Steered"] or "stages 2" in said["Steered"]
    assert said["Selected"].startswith("20 of 30 images: after the first stage")
