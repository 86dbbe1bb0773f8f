"""scores.html of scores against validation data: what was measured, by which model, and the instances at the two ends."""

import re

import numpy as np
import pytest

from refluence import report
from report import fabricate
from report.conftest import HOSTILE, TEN
from report.test_page import Outline


def test_what_was_measured_is_said_in_a_sentence_and_in_numbers(score_pages):
    text = Outline(score_pages["ten"].read_text(encoding="utf-8")).text.replace("\u202f", " ")
    assert "Each of 400 training instances of shapes was scored by a network that was not trained on it (5 folds)" in text
    assert "The 143 validation images (cut from train) decided what harms, and were held out of all training." in text
    assert "Terms, risk both, expected error" in text
    assert "92.1 % on 143 images (91.0 to 93.2 over 3 networks)" in text
    assert "Curvature ggn" in text
    assert "Damping 0.011 to 0.013" in text
    assert "hardly better than guessing" not in text
    assert "Labels are those of" not in text
    assert "leave out the most harmful twentieth in another run" in text
    assert "--drop scores.parquet:0.05" in text
    assert "look wrong" not in text


def test_the_instances_of_both_ends_come_with_label_suggestion_score_and_loss(score_pages):
    parquet = score_pages["ten"].with_suffix(".parquet")
    found = report.scores.read_scores(parquet, {})
    page = score_pages["ten"].read_text(encoding="utf-8")
    for label in range(10):
        members = np.flatnonzero(found.label == label)
        for i in members[np.argsort(found.score[members])[[0, -1]]]:
            words = re.search(rf'alt="({TEN[label]}, row {found.index[i]}, [^"]*)"', page)[1]
            assert f"loss {found.loss[i]:.2f}" in words
            assert (f"the network says {TEN[found.suggested[i]]}" in words) == (found.suggested[i] != label)
    first = page[page.index('id="first"') : page.index('id="influence"')]
    shown = [int(row) for row in re.findall(r'alt="[^"]*row (\d+)', first)]
    assert shown == found.index[np.argsort(-found.score)[:24]].tolist()


def test_labels_that_are_not_the_stored_ones_are_counted_shown_and_found_by_score_and_loss(tmp_path):
    stored = np.repeat(np.arange(10), 40)
    stored[::4] = (stored[::4] + 1) % 10
    stored[0] = -1
    path, images = fabricate.validation_scores(
        tmp_path / "scores.parquet", TEN, stored=stored, noise="symmetric:0.25", wrong_share=0.2712
    )
    page = report.write_scores(path, images, TEN, "noisy").read_text(encoding="utf-8")
    text = Outline(page).text
    found = report.scores.read_scores(path, {})
    wrong = stored != found.label
    pairs = [[(a > b) + (a == b) / 2 for a in x[wrong] for b in x[~wrong]] for x in (found.score, found.loss)]
    assert "Labels that look wrong (estimate) about 27 % Label differs from the stored one 100 (25.0 %)" in text
    assert "as many of the most harmful as labels look wrong" in text
    assert "These found by score, by loss (AUC) {:.3f}, {:.3f}".format(*map(np.mean, pairs)) in text
    assert "Some labels are wrong on purpose (symmetric:0.25)." in text
    assert "refluence distill --data shapes --noise symmetric:0.25 --drop scores.parquet:0.27" in text
    for words in re.findall(r'alt="([^"]*, row \d+, [^"]*)"', page):
        row = int(re.search(r"row (\d+)", words)[1]) // 2
        own = "another class" if stored[row] < 0 else TEN[stored[row]]
        assert words.endswith(f"stored: {own}") if wrong[row] else "stored" not in words


def test_images_from_another_domain_are_counted_and_found_by_score_and_loss(tmp_path):
    shifted = np.arange(400) % 4 == 0
    more = {"shift": "invert+mirror:0.25", "rows": 450}
    path, images = fabricate.validation_scores(tmp_path / "scores.parquet", TEN, shifted=shifted, **more)
    text = Outline(report.write_scores(path, images, TEN, "shifted").read_text(encoding="utf-8")).text
    found = report.scores.read_scores(path, {})
    areas = [report.scores.auc(each, shifted) for each in (found.score, found.loss)]
    assert "Image from another domain 100 (25.0 %) These found by score, by loss (AUC) {:.3f}, {:.3f}".format(*areas) in text
    assert "Some images are from another domain on purpose (invert+mirror:0.25)." in text
    assert "--shift invert+mirror:0.25 --rows 450 --drop scores.parquet:0.05" in text


def test_ties_count_half_where_scores_find_labels():
    wrong = np.array([True, False, False, True])
    assert report.scores.auc(np.array([1.0, 1.0, 0.0, 2.0]), wrong) == 7 / 8


def test_names_are_text_and_never_markup(score_pages):
    page = score_pages["hostile"].read_text(encoding="utf-8")
    outline = Outline(page)
    assert "hostile: <b>" in outline.text
    assert "Labels are those of votes.csv:<b>." in outline.text
    assert HOSTILE[0] in outline.text
    assert all("evil.example" not in (image.get("src") or "") for image in outline.all("img"))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"nets": 3}, "by 3 networks that were not trained on it (5 folds)"),
        ({"networks": "all"}, "scored by 5 networks, all but 1 of which were trained on it"),
        ({"folds": None, "load": "runs/a/model.safetensors"}, "trained before (runs/a/model.safetensors)"),
        ({"damping": [0.5, 0.5]}, "Damping 0.5 Solve 9 iterations, residual 0.009 Seed"),
        ({"converged": False}, "residual 0.009, stopped early"),
        ({"terms": "implicit", "risk": "cross-entropy"}, "M is the loss on the validation instances, and"),
        ({"terms": "implicit"}, "Above zero"),
        ({"terms": "both"}, "Above the mean"),
        ({"terms": "explicit"}, "Terms, risk explicit, expected error Seed"),
        ({"validation": {"images": 1, "accuracy": 60.0, "accuracies": [60.0]}}, "hardly better than guessing"),
        ({"validation": {"images": 1, "accuracy": 60.0, "accuracies": [60.0]}}, "60.0 % on 1 image Terms"),
    ],
)
def test_other_runs_are_told_apart(tmp_path, facts, expected):
    path, images = fabricate.validation_scores(tmp_path / "s.parquet", ["circle", "square"], 10, **facts)
    text = Outline(report.write_scores(path, images, ["circle", "square"], "x").read_text(encoding="utf-8")).text
    assert expected in re.sub(r"\s+", " ", text)


def test_rows_to_show_with_the_highest_of_all():
    label, score = np.repeat([0, 1], 30), np.r_[np.arange(30.0), -np.arange(30.0)]
    rows = report.picture_rows(np.arange(60), label, score, first=True)
    assert set(range(6, 30)) <= set(rows), "the 24 highest are all of one class"
    assert len(rows) == len(set(rows))
    assert set(report.picture_rows(np.arange(60), label, score)) <= set(rows)
