"""Digests of the bits that a run left behind: without seconds, memory and metadata, which differ from run to run."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

STORED = Path(__file__).with_name("digests.json")
PACKAGES = ("numpy", "scipy", "scikit-learn", "curvlinops-for-pytorch")
COLUMNS = ("index", "label", "score", "weight", "loss", "fold")
FIELDS = (
    "arm", "seed", "protocol", "split", "model", "width", "norm", "epochs", "ipc", "nets", "accuracy", "accuracies",
    "balanced_accuracy", "macro_f1", "imbalance", "curve", "labels", "lr", "ess", "images", "iterations", "stored_bytes",
)  # fmt: skip
"""What is kept of a row or an evaluation."""

Digests = dict[str, str]


def fingerprint() -> dict[str, str]:
    """What decides how numbers round on this machine: versions, instruction set, processor."""
    return {
        "torch": str(torch.__version__),  # with its build, cpu or cuda
        **{name: _version(name) for name in PACKAGES},
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
    }


def digests(folder: Path) -> Digests:
    """A digest for each artifact of the run in `folder`, by its path there (and `#rows`, `#settings`, one of its parts)."""
    found: Digests = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name in ("images.safetensors", "kept.safetensors", "model.safetensors"):
            found[name] = _tensors(path)
        elif path.suffix == ".parquet":
            found[name] = _table(path)
        elif path.name == "evaluation.json":
            found[name] = _rows(json.loads(path.read_text())["evaluations"], FIELDS)
        elif path.name == "results.json":
            found[f"{name}#rows"] = _rows(json.loads(path.read_text())["rows"], FIELDS)
        elif path.name == "rows.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found |= {f"{name}#rows": _rows(rows, FIELDS), f"{name}#settings": _rows(rows, ("arm", "settings"))}
        elif path.name == "metrics.jsonl":
            found[name] = _rows(json.loads(line) for line in path.read_text().splitlines())
    return found


def stored() -> list[dict]:
    """The records of the file: `{"fingerprint": …, "jobs": {job: digests}}`, one for each kind of machine."""
    return json.loads(STORED.read_text()) if STORED.exists() else []


def _tensors(path: Path) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def _table(path: Path) -> str:
    table = pq.read_table(path)
    return _text(*(f"{name} {table.column(name).to_pylist()}" for name in COLUMNS if name in table.column_names))


def _rows(rows: Iterable[dict], fields: tuple[str, ...] | None = None) -> str:
    """Of the fields that there are; of all but those of clocks where none are named."""
    kept = [{k: v for k, v in row.items() if (k in fields if fields else k not in ("seconds", "cpu_seconds"))} for row in rows]
    return _text(*(json.dumps(row, sort_keys=True) for row in kept))


def _text(*lines: str) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    """Vendor, family and model where Linux says them, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return " ".join(said[key] for key in ("vendor_id", "cpu family", "model") if key in said) or platform.processor()
