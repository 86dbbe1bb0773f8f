"""The decoded cache lies in the test's own folder; `pictures` (tiny files of known content) can be imported."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `pictures`


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("REFLUENCE_CACHE", str(folder))
    return folder
