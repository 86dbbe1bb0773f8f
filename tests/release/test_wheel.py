"""The wheel in an environment of its own: what it holds, its two commands, the examples, and the recorded bits."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from golden.digests import fingerprint, stored

pytestmark = [pytest.mark.release, pytest.mark.slow, pytest.mark.timeout(1500)]
ROOT = Path(__file__).parents[2]
LONG = 900  # seconds of one command


def run(words, where, **environment):
    quiet = {"OMP_NUM_THREADS": "1", "REFLUENCE_CACHE": str(where / "cache"), "HF_HUB_OFFLINE": "1"}
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    how = {"cwd": where, "env": {**bare, **quiet, **environment}, "capture_output": True, "text": True, "timeout": LONG}
    done = subprocess.run([str(word) for word in words], **how)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], folder)
    (found,) = folder.glob("refluence-*.whl")
    return found


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """The folder of commands of an environment that has the wheel; its dependencies are those of this environment."""
    place = tmp_path_factory.mktemp("bare")
    run([sys.executable, "-m", "venv", place / "env"], place)
    commands = place / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = commands / "python"
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], place).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # behind the wheel on the path
    run([python, "-m", "pip", "install", "-q", "--no-deps", "--ignore-installed", wheel], place)
    assert run([python, "-c", "import refluence; print(refluence.__file__)"], place).startswith(str(site))
    return commands


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {str(p.relative_to(ROOT / "src")) for p in (ROOT / "src" / "refluence").rglob("*") if p.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    assert {name for name in names if name.startswith("refluence/")} == package
    assert "refluence/py.typed" in names
    assert {name.partition("/")[0] for name in names - package} == {f"{wheel.name.split('-py3')[0]}.dist-info"}
    metadata = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert "Requires-Dist: torch" in metadata
    assert "License-Expression: MIT" in metadata


def test_the_two_commands_of_the_readme(bare, tmp_path):
    said = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"refluence compare --data \S+ --ipc 10 --methods random herding dc dc\+influence --seeds 5", said)
    assert re.search(r"refluence score --data \S+ --out scores.parquet", said)
    short = ("--nets", "1", "--epochs", "2", "--width", "8", "--iterations", "4", "--seeds", "2", "--threads", "1")
    compare = ("compare", "--data", "digits", "--ipc", "10", "--methods", "random", "herding", "dc", "dc+influence", *short)
    assert "dc+influence" in run([bare / "refluence", *compare, "--out", "runs/mine"], tmp_path)
    assert (tmp_path / "runs" / "mine" / "report.html").stat().st_size > 10_000
    run([bare / "refluence", "score", "--data", "digits", "--width", "8", "--epochs", "1", "--out", "scores.parquet"], tmp_path)
    assert (tmp_path / "scores.html").exists()
    drop = ("distill", "--data", "digits", "--drop", "scores.parquet:0.05", "--method", "dm", *short[:8], "--out", "runs/clean")
    run([bare / "refluence", *drop], tmp_path)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_the_examples(bare, tmp_path, path):
    run([bare / "python", path], tmp_path)


def test_the_recorded_bits_are_those_of_the_wheel(bare, tmp_path):
    recorded = next((entry["jobs"] for entry in stored() if entry["fingerprint"] == fingerprint()), None)
    if recorded is None:
        pytest.skip("no golden digests for this machine: python tests/golden/record.py records them")
    code = (
        "import contextlib, io, json, pathlib, tempfile\n"
        "from golden.digests import digests\n"
        "from golden.tiny_jobs import JOBS, run\n"
        "found = {}\n"
        "for name in JOBS:\n"
        "    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):\n"
        "        found[name] = digests(run(name, pathlib.Path(folder)))\n"
        "print(json.dumps(found))\n"
    )
    said = run([bare / "python", "-c", code], tmp_path, PYTHONPATH=str(ROOT / "tests"))
    assert json.loads(said.splitlines()[-1]) == recorded
