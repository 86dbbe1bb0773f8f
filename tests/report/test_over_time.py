"""Influence over time and per class: the words say what the numbers of the folder say, and nothing where there are none."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from refluence import report
from refluence.report import charts
from refluence.report.boxed import MOST, boxed
from refluence.report.curves import over_steps
from refluence.report.over_time import decided, figures
from refluence.report.reading import read_unit
from refluence.report.words import compact, fixed, signed
from report import fabricate
from report.conftest import TEN
from report.test_page import Outline

BY_CLASS = ("spread_by_class", "explicit_by_class", "implicit_by_class", "agreement_by_class", "weight_by_class")


def recorded(folder, *entries, arm="idc+influence:terms=both"):
    """A unit whose metrics.jsonl holds these entries."""
    fabricate.unit(folder, arm, steps=len(entries))
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": i, **e}) + "\n" for i, e in enumerate(entries)))
    return read_unit(folder)


def terms(explicit, implicit, agreement):
    return {"explicit_by_class": explicit, "implicit_by_class": implicit, "agreement_by_class": agreement}


def text_of(folder):
    return Outline(report.write(folder).read_text(encoding="utf-8")).text


@pytest.fixture(scope="module")
def outlines(folders):
    return {kind: Outline((folder / "report.html").read_text(encoding="utf-8")) for kind, folder in folders.items()}


def test_who_decides_is_in_words_with_the_medians_of_the_folder(folders, outlines):
    lines = [json.loads(line) for line in (folders["terms"] / "metrics.jsonl").read_text().splitlines()]
    explicit, implicit, agreement = (np.array([line[key] for line in lines]) for key in BY_CLASS[1:4])
    size = f"its scores spread {compact(np.median(implicit / explicit))} times as far as the explicit ones"
    assert f"The implicit term decides the weights: {size}" in outlines["terms"].text
    assert f"(correlation {signed(np.median(agreement), 2)})." in outlines["terms"].text


@pytest.mark.parametrize(
    ("arm", "entries", "expected"),
    [
        ("both", [terms([1, 1], [8, 10], [0.1, 0.1]), terms([1, 1], [12, 10], [0.1, 0.1])],
         "The implicit term decides the weights: its scores spread 10 times as far as the explicit ones, "
         "and the two hardly agree (correlation +0.10)."),
        ("both", [terms([6, 5], [1, 1], [0.8, 0.9])],
         "The explicit term decides the weights: its scores spread 5.48 times as far as the implicit ones, "
         "and the two largely agree (correlation +0.85)."),
        ("both", [terms([2, 2], [3, 3], [-0.5, -0.5])],
         "Both terms decide the weights: the implicit scores spread 1.5 times as far as the explicit ones, "
         "and the two partly oppose each other (correlation −0.50)."),
        ("both", [terms([3, 3], [3, 3], [0, 0])],
         "Both terms decide the weights: both spread alike, and the two hardly agree (correlation 0.00)."),
        ("implicit", [terms([8, 8], [2, 2], [0, 0])],
         "The implicit term alone makes the weights (terms=implicit): the explicit scores spread 4 times as far as the "
         "implicit ones, and the two hardly agree (correlation 0.00)."),
        ("both", [terms([0, 2], [1, 6], [0, -1]), {}, terms([], [], []), terms([2], [None], [0.3])],
         "The implicit term decides the weights: its scores spread 3 times as far as the explicit ones, "
         "and the two largely oppose each other (correlation −1.00)."),
        ("both", [terms([0], [1], [0]), {"spread_by_class": [1, 1]}], None),
    ],
    ids=["implicit", "explicit", "both", "alike", "implicit alone", "what is missing is skipped", "nothing to say"],
)  # fmt: skip
def test_sentences(tmp_path, arm, entries, expected):
    unit = recorded(tmp_path, *entries, arm=f"idc+influence:terms={arm}")
    assert decided(unit.arm, [unit]) == expected


def test_seeds_are_taken_together_and_controls_decide_nothing(tmp_path):
    units = [recorded(tmp_path / str(s), terms([1, 1], [4 * s, 4 * s], [0, 0])) for s in (1, 2, 2)]
    assert "spread 8 times" in decided(units[0].arm, units)
    headings = [f.heading for f in figures(units, {units[0].arm: charts.PALETTE[0]}, True)]
    assert headings == ["Explicit and implicit term: idc+influence:terms=both"]
    control = recorded(tmp_path / "control", terms([1, 1], [4, 4], [0, 0]), arm="idc+shuffled:terms=both")
    assert figures([control], {control.arm: charts.PALETTE[0]}, True) == []


def test_curves_are_means_over_classes_and_seeds(tmp_path):
    units = [recorded(tmp_path / str(s), {"spread_by_class": [s, 3 * s]}, {}, {"spread_by_class": [0, 0]}) for s in (1.0, 2.0)]
    assert over_steps(units, "spread_by_class") == [(0.0, 3.0), (2.0, 0.0)]
    assert over_steps(units, "spread_by_class", positive=True) == [(0.0, 3.0)]
    assert over_steps(units, "loss") == []


def test_a_comparison_shows_arms_and_a_run_its_classes(tmp_path, outlines):
    arms = {"dc": 60.0, "dc+influence": 61.0, "idc+influence:terms=both": 62.0, "idc+shuffled:terms=both": 60.0}
    outline = Outline(report.write(fabricate.compare(tmp_path, seeds=2, steps=5, arms=arms)).read_text(encoding="utf-8"))
    labels = [a["aria-label"] for a in outline.all("svg") if a.get("role") == "img"]
    assert labels.count("Spread of the influence per image step, one line per arm") == 2
    assert labels.count("Spread of the explicit and of the implicit term per image step: idc+influence:terms=both") == 2
    assert not [label for label in labels if "shuffled" in label]
    assert "mean over classes and seeds" in outline.text
    labels = [a["aria-label"] for a in outlines["terms"].all("svg") if a.get("role") == "img"]
    assert labels.count("Spread of the influence per image step, one line per class") == 2
    assert "Spread of the influence per image step" not in outlines["bare"].text


def test_mean_weights_are_told_where_they_differ_from_one(tmp_path, folders, outlines):
    lines = [json.loads(line) for line in (folders["terms"] / "metrics.jsonl").read_text().splitlines()]
    means = np.array([line["weight_by_class"] for line in lines]).mean(0)
    most, least = means.argmax(), means.argmin()
    words = (
        f"Heaviest class: {TEN[most]}, mean weight {fixed(means[most], 2)}. Lightest: {TEN[least]}, {fixed(means[least], 2)}."
    )
    assert words in outlines["terms"].text
    assert "Weight per class" not in outlines["unit"].text
    ones = recorded(tmp_path, *[{"weight_by_class": [1.0, 1.001]}] * 3, arm="dc+influence:bag=batch")
    assert figures([ones], {}, False) == []


def test_folders_without_these_fields_have_a_page(tmp_path):
    folder = fabricate.unit(tmp_path, "idc+influence:terms=both,bag=batch", steps=20)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = ("step", "loss", "loss_by_class", "ess", "seconds")
    (folder / "metrics.jsonl").write_text("\n".join(json.dumps({k: line[k] for k in kept}) for line in lines))
    words = "No image step of this folder recorded how the influence is spread"
    assert words in text_of(folder)
    early = [{k: line[k] for k in (*kept, "spread_by_class", "implicit_by_class")} for line in lines]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, early)))
    text = text_of(folder)
    assert "Spread of the influence" in text
    assert "Explicit and implicit term" not in text
    assert words not in text
    empty = [line | {key: [] for key in BY_CLASS} for line in lines]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, empty)))
    assert words in text_of(folder)


def test_influence_per_class_is_that_of_the_scores(folders, outlines, monkeypatch):
    drawn = []
    monkeypatch.setattr(charts, "boxes", lambda rows, *words: drawn.append(rows) or charts.Markup(""))
    table = pq.read_table(folders["terms"] / "scores.parquet")
    label, score = table.column("label").to_numpy(), table.column("score").to_numpy()
    found = report.scores.section(read_unit(folders["terms"]).scores(), TEN, "")
    assert [row["name"] for row in drawn[0]] == TEN
    for c, row in enumerate(drawn[0]):
        mine = score[label == c] / 1e-3  # the page's unit
        assert [row[key] for key in ("low", "q1", "middle", "q3", "high")] == pytest.approx(
            np.quantile(mine, [0.05, 0.25, 0.5, 0.75, 0.95])
        )
    assert found.unit == "10⁻³"
    assert "Influence per class" in outlines["terms"].text
    assert "Shown are the 20 of 100 classes that reach farthest." in outlines["hundred"].text


def test_of_many_classes_the_farthest_are_shown_in_their_order():
    groups = {f"class {i}": np.full(3, 1.0 + i % 30) for i in range(40)}
    found = boxed(groups, 1.0, "weight", "title")
    names = list(dict.fromkeys(re.findall(r">(class \d+)<", charts.drawn(found.chart, Path("page.html")))))
    assert names == [f"class {i}" for i in range(10, 30)]
    assert found.left_out == f"Shown are the {MOST} of 40 classes that reach farthest."
    assert boxed({"lonely": np.ones(3)}, 0.0, "", "") is None


def test_a_few_values_are_dots_and_no_box(monkeypatch):
    rows = []
    monkeypatch.setattr(charts, "boxes", lambda drawn, *rest: rows.extend(drawn))
    four, five = np.array([3.0, 1.0, 2.0, 9.0]), np.arange(5.0)
    assert boxed({"four": four, "five": five}, 0.0, "", "").reading.endswith("Of fewer than 5 values each is a dot.")
    assert [row["values"] for row in rows] == [[3.0, 1.0, 2.0, 9.0], []]
    assert (rows[0]["low"], rows[0]["middle"], rows[0]["high"], "q1" in rows[0]) == (1.0, 2.5, 9.0, False)
    assert boxed({"a": four, "b": four}, 0.0, "", "").reading == "Dots are values. The stroke is the median of a class."
    assert "dot" not in boxed({"a": five, "b": five}, 0.0, "", "").reading


def test_dots_are_drawn_where_boxes_are_not():
    def marks(**groups):
        drawn = charts.drawn(boxed(groups, 0.0, "weight", "title").chart, Path("page.html"))
        groups = [re.findall(rf"{kind}[^>]*[^/]>.*?</g>", drawn) for kind in ("mark-symbol", "layer_2")]
        return ["".join(found).count("<path") for found in groups]

    assert marks(a=np.arange(4.0), b=np.arange(9.0)) == [8, 2]  # wide and narrow
    assert marks(a=np.arange(3.0), b=np.arange(4.0)) == [14, 0]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0004, 0.3], ["0.001", "0.01", "0.1"]),
        ([2.0, 30.0], ["3", "10", "30"]),
        ([2.0, 12.0], ["2", "5", "10"]),
        ([1000.0, 900_000.0], ["1000", "10000", "100000"]),
        ([3.0, 3.0], ["3", "4"]),
    ],
)
def test_logarithmic_ticks_are_round_and_not_cut_off(values, ticks):
    series = {"a": [(float(i), v) for i, v in enumerate(values)]}
    chart = charts.lines(series, {"a": charts.INK}, "", "", "", log=True)
    svg = charts.drawn(chart, Path("page.html")).split("</svg>")
    wide = next(part for part in svg if 'class="wide"' in part)
    shown = re.findall(r"<text[^>]*>([^<]+)</text>", wide)
    assert [t for t in shown if t in ticks] == ticks
