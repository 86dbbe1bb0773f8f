"""Trained weights on disk, put into a network: `score --load model.safetensors`, as `evaluate --save-model` wrote it.

The file's header says which network it is and what its pixels were normalised by, so neither has to be given again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from refluence.errors import InputError, option
from refluence.files import Json, write_tensors
from refluence.models.build import ModelSpec
from refluence.models.custom import OwnSpec
from refluence.models.names import fit
from refluence.models.own import bare
from refluence.models.renormalised import Renormalised
from refluence.models.text import TextSpec

HEADER = "refluence"
SIZE = "size"  # side of the images that a network takes, where those that come are resized for it
KINDS = {"model": str, "width": int, "norm": str, "classes": list, "mean": list, "std": list, SIZE: int}  # of the header
NESTED = ("state_dict", "model_state_dict", "model", "net")  # where trainers keep the state of a network


@dataclass(frozen=True)
class StoredModel:
    """The tensors of a trained network by name, and what its file says of it (`{}`: nothing).

    `dropped`: names that safetensors left out, each with the name of the same tensor that it kept. `flag`: the option that
    named the file.
    """

    path: Path
    tensors: dict[str, Tensor]
    facts: Json
    dropped: dict[str, str] = field(default_factory=dict)
    flag: str = "load"


class TrainedOn(Protocol):
    """What stored weights say of the images that they were trained on."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, on [0, 1]."""

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel."""


def save_model(path: Path, net: nn.Module, spec: ModelSpec, trained_on: TrainedOn) -> None:
    """Write a network's state with its name, width and norm. `trained_on` has `classes`, `mean` and `std`.

    The tensors of a user's network have the names that it gives them. A network that sees images as its own were normalised is
    written as it is, with its own normalisation.
    """
    own = {} if isinstance(spec, (OwnSpec, TextSpec)) else {"width": spec.width, "norm": spec.norm}
    facts: Json = {"model": spec.name, **own, "classes": list(trained_on.classes)}
    mean, std = trained_on.mean, trained_on.std
    if isinstance(net, Renormalised):
        (mean, std), facts, net = net.theirs, {**facts, **({} if net.size is None else {SIZE: net.size})}, net.net
    facts |= {"mean": list(mean), "std": list(std)}
    write_tensors(path, bare(net).state_dict(), {HEADER: json.dumps(facts)})


def read_model(path: Path, flag: str = "load") -> StoredModel:
    """Read a file of tensors, which the option `flag` named; a folder, another kind of file or numbers that are not finite are
    one line each."""
    if path.is_dir():
        inside = path / "model.safetensors"
        hint = f"did you mean {inside}?" if inside.is_file() else "name the model.safetensors of `evaluate --save-model`"
        raise InputError(f"{option(flag)} {path} is a folder: {hint}")
    if not path.is_file():
        raise InputError(f"{option(flag)} {path}: there is no such file")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = dict(file.metadata() or {})
            facts = json.loads(about.pop(HEADER, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{option(flag)} {path}{_other_kind(path) or f' cannot be read as safetensors ({error})'}") from None
    if not tensors:
        raise InputError(f"{option(flag)} {path} holds no tensor")
    if not isinstance(facts, dict) or any(not isinstance(facts.get(name, kind()), kind) for name, kind in KINDS.items()):
        raise InputError(f"{option(flag)} {path}: its header '{HEADER}' was changed by hand")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
            raise InputError(f"{option(flag)} {path}: {name} has values that are not finite")
    return StoredModel(path, tensors, facts, {name: kept for name, kept in about.items() if kept in tensors}, flag)


def _other_kind(path: Path) -> str:
    """What a file that is no safetensors is, and what to do; nothing where that cannot be told."""
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        return " is empty"
    if start.startswith(b"version https://"):
        return " is the pointer of Git LFS, not the file: `git lfs pull` fetches it"
    if start.startswith((b"PK\x03\x04", b"\x80")):  # torch.save writes a zip, and wrote a pickle
        return f" is a pickle (torch.save), which is never loaded here; convert it once in Python: {convert(path)}"
    return ""


def convert(path: Path) -> str:
    """Python in one line that writes the state of a network in a pickle as safetensors beside it."""
    return (
        "import torch; from safetensors.torch import save_file; "
        f"d = torch.load({str(path)!r}, map_location='cpu', weights_only=True); "
        f"d = next((d[k] for k in {NESTED} if isinstance(d.get(k), dict)), d); "
        "save_file({k: v.clone().contiguous() for k, v in d.items() if isinstance(v, torch.Tensor)}, "
        f"{str(path.with_suffix('.safetensors'))!r})"
    )


def put(stored: StoredModel, net: nn.Module, name: str, classes: int, which: str | None = None) -> tuple[nn.Module, list[str]]:
    """Copy the tensors into `net`, and say in words how its names and numbers were read.

    `which`: how one says which network it is (None: by the options of `score`), for the error about one by name.

    `InputError` for the first tensor that does not fit.
    """
    try:
        fitted = fit(stored.tensors, net, classes, stored.dropped)
    except InputError as error:
        model, width, norm = map(option, ("model", "width", "norm"))
        how = which or f"{model}, {width} and {norm} say which network it is"
        words = "" if ":" in name else f" ({how})"
        raise InputError(f"{option(stored.flag)} {stored.path} does not fit {name}: {error}{words}") from None
    net.load_state_dict(fitted.tensors, strict=False)
    return net.eval(), fitted.remarks
