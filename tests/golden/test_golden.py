"""Existing commands and seeds give the bits that they gave before: images, scores, rows and metrics of tiny jobs.

Where bits change on purpose: `python tests/golden/record.py`, and the commit says why.
"""

from __future__ import annotations

import pytest

from golden.digests import Digests, digests, fingerprint, stored
from golden.tiny_jobs import JOBS, run, run_stopped

RECORD = "python tests/golden/record.py, on a commit whose bits are known to be right, records them"


@pytest.fixture(scope="module")
def recorded() -> dict[str, Digests]:
    here = fingerprint()
    for entry in stored():
        if entry["fingerprint"] == here:
            return entry["jobs"]
    pytest.skip(f"no golden digests for this machine ({', '.join(f'{k} {v}' for k, v in here.items())}): {RECORD}")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFLUENCE_CACHE", str(tmp_path / "cache"))


def changed(found: Digests, expected: Digests) -> list[str]:
    """Each artifact that differs, and how."""
    names = sorted({*found, *expected})
    words = {n: "missing" if n not in found else "new" if n not in expected else "other bits" for n in names}
    return [f"{n}: {words[n]}" for n in names if found.get(n) != expected.get(n)]


@pytest.mark.parametrize("name", JOBS)
def test_the_bits_are_those_recorded(recorded, tmp_path, name):
    if name not in recorded:
        pytest.skip(f"no golden digests of {name} for this machine: {RECORD}")
    assert changed(digests(run(name, tmp_path)), recorded[name]) == [], f"job {name}"


@pytest.mark.parametrize("name", ["dc", "dc-soft", "idm", "pdd", "dm-carried"])
def test_a_stopped_job_resumes_to_the_same_bits(recorded, tmp_path, name):
    expected = recorded[name] if name in recorded else digests(run(name, tmp_path / "whole"))
    assert changed(digests(run_stopped(name, tmp_path, saves=2)), expected) == [], f"job {name}, stopped and resumed"


def test_a_changed_bit_is_seen_and_named(tmp_path):
    folder = run("dm-carried", tmp_path)
    before = digests(folder)
    assert {"distilled/images.safetensors", "evaluation.json", "metrics.jsonl", "scores.parquet"} <= set(before)
    path = folder / "distilled" / "images.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert changed(digests(folder), before) == ["distilled/images.safetensors: other bits"]
