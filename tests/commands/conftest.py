"""One small run of each kind is made once; tests that change it work on a copy."""

import shutil
from typing import NamedTuple

import pytest

from refluence.cli import main
from support.command_line import DIGITS


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REFLUENCE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def refluence(capsys):
    """Run a command in this process: its exit code and what it said."""

    def run(*words) -> Said:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # --help
            code = stop.code or 0
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(refluence):
    """Run a command that cannot be: exit code 2 and one line, which is returned."""

    def run(*words) -> str:
        said = refluence(*words)
        assert said.code == 2, said
        assert "Traceback" not in said.err
        assert len(said.err.strip().splitlines()) == 1, said.err
        assert said.err.startswith("refluence: ")
        assert said.out == ""
        return said.err.strip()

    return run


@pytest.fixture(scope="session")
def distilled_once(tmp_path_factory):
    out = tmp_path_factory.mktemp("distilled") / "run"
    words = ("distill", *DIGITS, "--weights", "influence", "--iterations", "6", "--protocol", "iwd-cpu")
    assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def compared_once(tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "run"
    words = ("compare", *DIGITS, "--methods", "random", "dc+influence", "--iterations", "4", "--seeds", "2", "--workers", "1")
    assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.fixture
def distilled(distilled_once, tmp_path):
    return shutil.copytree(distilled_once, tmp_path / "distilled")


@pytest.fixture
def compared(compared_once, tmp_path):
    return shutil.copytree(compared_once, tmp_path / "compared")
