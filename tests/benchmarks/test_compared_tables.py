"""Comparisons as rows and as tables: nothing is typed, and what is not there is left alone."""

import json

import compared_tables as tables
import pytest

import refluence as rf
from refluence.run.rows import read_rows

ARMS = {"scratch": 70.0, "kd": 80.0, "student": 82.0, "student+shuffled": 80.5}


def rows_of(less=0.0, **more):
    found = [
        {"arm": arm, "seed": seed, "protocol": "student", "split": "test", "accuracy": accuracy - less + 0.5 * seed}
        | {"worst_class": 60.0, "seconds": 12.4, "nets": [accuracy], "ess": 0.9, "imbalance": 1.0}
        for arm, accuracy in ARMS.items()
        for seed in range(3)
    ]
    return [row | (more if row["arm"] == "student" else {}) for row in found]


def test_a_line_has_the_worst_class_and_the_two_criteria():
    text = tables.table(rows_of(4.1, noisy_weight=0.71, clean_weight=1.07, auc=0.8), rows_of())
    line = next(line for line in text.splitlines() if line.startswith("| student |"))
    assert "| 78.4 ± 0.5 | 3 |" in line
    assert "| 60.0 | 0.80 | 0.71 | 1.07 | 0.90 | 95.0 % | 12 |" in line
    assert text.startswith("> ")


def test_rows_are_kept_without_places_of_a_machine(tmp_path):
    folder, raw = tmp_path / "run", tmp_path / "raw"
    folder.mkdir()
    raw.mkdir()
    (folder / "results.json").write_text(json.dumps({"rows": rows_of()}))
    (folder / "config.json").write_text(json.dumps({"arguments": {"out": "x", "data": "/a/b", "noise": "symmetric:0.1"}}))
    tables.keep("kd-digits", folder, raw)
    kept = [json.loads(line) for line in (raw / "kd-digits.jsonl").read_text().splitlines()]
    assert len(kept) == 12
    assert kept[0]["asked"] == {"noise": "symmetric:0.1"}
    page = (
        "a\n<!-- compared: kd-digits -->\nold\n<!-- end -->\n<!-- compared: later clean kd-digits -->\nas it is\n<!-- end -->\n"
    )
    made = tables.filled(page, raw)
    assert "old" not in made
    assert "as it is" in made
    assert "| kd | 80.5 ± 0.5 | 3 |" in made


@pytest.mark.slow
def test_what_sampled_sets_needed_is_kept_beside_their_rows(tmp_path):
    short = {"ipc": 1, "steps": 4, "denoiser_iterations": 2, "minimax_iterations": 1, "surrogate_epochs": 1, "threads": 1}
    judged = {"nets": 1, "epochs": 1, "width": 4, "surrogate": "convnet1:4"}
    out, raw = tmp_path / "run", tmp_path / "raw"
    raw.mkdir()
    rf.compare("digits", ["minimax+igd"], seeds=1, out=out, **short, **judged)
    tables.keep("igd-digits", out, raw)
    needs = {line["need"]: line for line in map(json.loads, (raw / "igd-digits.needs.jsonl").read_text().splitlines())}
    assert set(needs) == {"denoiser", "minimax", "surrogate", "trajectory", "pool"}
    row = next(line for line in read_rows(raw / "igd-digits.jsonl") if line["arm"] == "minimax+igd")
    for kind in ("denoiser", "minimax", "surrogate"):
        assert needs[kind]["seconds"] == pytest.approx(row[f"{kind}_seconds"], abs=0.001)
        assert needs[kind]["cpu_seconds"] > 0
        (card,) = out.glob(f"shared/{kind}-*/*/card.json")
        assert 0 < json.loads(card.read_text())["cpu_seconds"] <= needs[kind]["cpu_seconds"]
    for unit in ("seconds", "cpu_seconds"):
        assert needs["surrogate"][unit] >= needs["trajectory"][unit] > 0
    assert needs["denoiser"]["settings"]["iterations"] == 2
    assert (needs["pool"]["arm"], needs["pool"]["of"]) == ("minimax+pool", "minimax+igd")
    assert needs["pool"]["factor"] >= 1
    assert str(tmp_path) not in (raw / "igd-digits.needs.jsonl").read_text()
