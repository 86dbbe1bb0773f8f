"""`--load model.safetensors`: trained weights put into a network, as `evaluate --save-model` wrote them.

The file's header says which network it is and what its pixels were normalised by, so neither has to be given again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from refluence.data import Dataset
from refluence.errors import InputError
from refluence.files import write_tensors
from refluence.models import ModelSpec

HEADER = "refluence"


@dataclass(frozen=True)
class Stored:
    """The tensors of a trained network by name, and what its file says of it (`{}`: nothing)."""

    path: Path
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save_model(path: Path, net: nn.Module, spec: ModelSpec, trained_on: Any) -> None:
    """Write a network's state with its name, width and norm. `trained_on` has `classes`, `mean` and `std`."""
    facts = {"model": spec.name, "width": spec.width, "norm": spec.norm, "classes": list(trained_on.classes)}
    facts |= {"mean": list(trained_on.mean), "std": list(trained_on.std)}
    write_tensors(path, net.state_dict(), {HEADER: json.dumps(facts)})


def read_model(path: Path) -> Stored:
    """Read a file of tensors; a folder, another kind of file or numbers that are not finite are one line each."""
    if path.is_dir():
        inside = path / "model.safetensors"
        hint = f"did you mean {inside}?" if inside.is_file() else "name the model.safetensors of `evaluate --save-model`"
        raise InputError(f"--load {path} is a folder: {hint}")
    if not path.is_file():
        raise InputError(f"--load {path}: there is no such file")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {}).get(HEADER, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"--load {path} cannot be read as safetensors ({error}): see `evaluate --save-model`") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"--load {path}: {name} has values that are not finite")
    return Stored(path, tensors, facts)


def put(stored: Stored, net: nn.Module, name: str) -> nn.Module:
    """Copy the tensors into `net`; the first name or shape that does not fit is an `InputError`."""
    wanted = net.state_dict()
    for key, tensor in wanted.items():
        if key not in stored.tensors:
            raise InputError(f"--load {stored.path} does not fit {name}: {key} is missing there")
        if stored.tensors[key].shape != tensor.shape:
            shapes = f"{tuple(stored.tensors[key].shape)} there, {tuple(tensor.shape)} in this network"
            raise InputError(f"--load {stored.path} does not fit {name}: {key} is {shapes} (--model, --width, --norm)")
    if more := [key for key in stored.tensors if key not in wanted]:
        raise InputError(f"--load {stored.path} does not fit {name}: this network has no {more[0]}")
    net.load_state_dict(stored.tensors)
    return net.eval()


def check_data(stored: Stored, dataset: Dataset) -> None:
    """`InputError` where the network was trained on other classes."""
    classes = stored.facts.get("classes")
    if classes is not None and tuple(classes) != dataset.classes:
        raise InputError(
            f"--load {stored.path} was trained on the classes {', '.join(classes[:5])} … ({len(classes)}), {dataset.source} "
            f"has {', '.join(dataset.classes[:5])} … ({len(dataset.classes)}): they must be the same"
        )


def normalised(stored: Stored, dataset: Dataset) -> Dataset:
    """The dataset with its pixels normalised as the network knows them, where the file says by what."""
    mean, std = stored.facts.get("mean"), stored.facts.get("std")
    if mean is None or std is None or len(mean) != dataset.shape[0]:
        return dataset
    return replace(dataset, mean=tuple(mean), std=tuple(std))
