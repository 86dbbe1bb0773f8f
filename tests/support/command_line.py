"""What tests of the command line share: runs of seconds, folders of pictures, snapshots of folders."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

TINY = ("--threads", "1", "--nets", "1", "--epochs", "2", "--width", "8", "--real-batch", "16", "--quiet")
DIGITS = ("--data", "digits", "--ipc", "2", *TINY)


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Time of change and digest of every file below the folder: equal trees mean that nothing was written."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files}


def pictures(root: Path, classes=("cat", "dog"), count=12, size=(8, 8), bright=0) -> Path:
    """`root/<class>/NN.png`, class by class of another brightness."""
    draw = np.random.default_rng(0)
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = draw.integers(100 * c + bright, 100 * c + bright + 60, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:02d}.png")
    return root


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


NEEDS = ("teacher", "weights", "denoiser", "minimax", "surrogate")
UNITS = ("seconds", "cpu_seconds")
MEASURED = {*UNITS, "peak_bytes", "test_uses", *(f"{need}_{unit}" for need in NEEDS for unit in UNITS)}


def without_seconds(value):
    """The same value without what a clock or the machine's memory decides."""
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if k not in MEASURED}
    return [without_seconds(v) for v in value] if isinstance(value, list) else value


def process(*words: str, **how) -> subprocess.Popen:
    """`python -m refluence …` as a process group of its own; it hears Ctrl-C also where the tests run in the background."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    if os.name == "posix":
        pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "refluence", *map(str, words)], env=environment, **{**pipes, **how})
