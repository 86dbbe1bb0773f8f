"""One checkpoint file per run: tensors and a JSON header, replaced atomically, read without pickle."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from refluence.clock import Time
from refluence.errors import InputError
from refluence.files import Json, write_tensors

NAME = "checkpoint/state.safetensors"


def save(folder: Path, tensors: dict[str, Tensor], header: Json) -> None:
    """Write the checkpoint of the run in `folder`; a kill at any moment leaves the old or the new one, whole."""
    write_tensors(folder / NAME, tensors, {"header": json.dumps(header)})


def time_spent(folder: Path) -> Time:
    """What the sessions until the last checkpoint took; 0 where there is none, or none that can be read."""
    try:
        with safe_open(folder / NAME, "pt") as file:
            return Time.read(json.loads(file.metadata()["header"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return Time()


def load(folder: Path) -> tuple[dict[str, Tensor], Json] | None:
    """The last checkpoint, or None where there is none yet."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["header"])
            # copies: a tensor that maps the file keeps Windows from replacing it
            return {name: file.get_tensor(name).clone() for name in file.keys()}, header  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a checkpoint of this version ({error}); delete it to start again") from error
