"""The tables of influence energy are made of rows, with paired differences."""

import json

import guidance_energy as energy


def test_a_table_has_paired_differences():
    rows = [
        {"what": what, "seed": seed, "influence": value + 0.01 * seed, "nearest": 0.5}
        for what, value in (("none", 0.1), ("influence, k = 5", 0.08))
        for seed in range(3)
    ]
    lines = energy.table(rows).splitlines()
    assert lines[2] == "| none | 0.110 |  | 0.50 |"
    assert lines[3].startswith("| influence, k = 5 | 0.090 | -0.020")


def test_an_interval_is_that_of_student():
    assert energy.interval([1.0, 2.0, 3.0]) == "+2.000 [-0.484, +4.484]"
    assert energy.interval([0.5, 0.5]) == "+0.500"


def test_arms_are_compared_with_the_same_without_guidance(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "RAW", tmp_path)
    rows = [
        {"arm": arm, "seed": seed, "influence": value + seed}
        for arm, value in (("dit", 1.0), ("dit+igd", 0.5), ("random", 3.0))
        for seed in (0, 1)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = energy.compared(("a", "a")).splitlines()
    assert lines[2] == "| `dit` | 1.500 |  | 1.500 |  |"
    assert lines[3] == "| `dit+igd` | 1.000 | -0.500 | 1.000 | -0.500 |"
    assert lines[4] == "| `random` | 3.500 |  | 3.500 |  |"
