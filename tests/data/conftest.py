"""The decoded cache lies in the test's own folder."""

import pytest


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("REFLUENCE_CACHE", str(folder))
    return folder
