"""`refluence evaluate DIR`: a distilled set judged again, the result beside the first one."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import torch

from refluence.commands.session import open_session, relative
from refluence.commands.unit import choose_protocols, judge_once
from refluence.data import SourceOptions, count_test_use, load_distilled, read_card
from refluence.errors import InputError
from refluence.files import read_json, write_json, write_tensors
from refluence.models import ModelSpec
from refluence.run.folder import configuration
from refluence.run.seeds import streams


def run(flags: Any) -> None:
    """Train fresh networks under each protocol and append what they reach to evaluation.json."""
    config = configuration(flags.folder)
    if not (flags.folder / "distilled").exists():
        raise InputError(f"{flags.folder} holds no distilled set; a comparison's sets are in its units/ARM/SEED folders")
    small, card = load_distilled(flags.folder / "distilled"), read_card(flags.folder / "distilled")
    data = config["resolved"]["data"] if "data" in config["resolved"] else {"source": card["source"], "options": {}}
    known = {f.name for f in dataclasses.fields(SourceOptions)}
    stored = {k: v for k, v in data["options"].items() if k in known} if flags.data is None else {}
    if flags.data is not None:
        stored["image_size"] = small.images.shape[-1]
    source = SimpleNamespace(**{**_plain(flags), **stored, "data": flags.data or card["source"]})
    session = open_session(source)
    if session.dataset.classes != small.classes:
        raise InputError(
            f"{source.data} has the classes {', '.join(session.dataset.classes[:5])}…, the distilled set "
            f"{', '.join(small.classes[:5])}…: they must be the same"
        )
    if session.dataset.shape != tuple(small.images.shape[1:]):
        raise InputError(f"{source.data} has images {session.dataset.shape}, the distilled set {tuple(small.images.shape[1:])}")
    fields = {**card["model"], "shape": tuple(card["model"]["shape"])}
    changes = {k: getattr(flags, n) for k, n in (("name", "model"), ("width", "width"), ("norm", "norm")) if getattr(flags, n)}
    model = ModelSpec(**{**fields, **changes})

    def keep(index: int, net: torch.nn.Module) -> None:
        if flags.save_model and index == 0:
            write_tensors(flags.folder / "model.safetensors", net.state_dict())

    path = flags.folder / "evaluation.json"
    found = read_json(path)["evaluations"] if path.exists() else []
    for protocol in choose_protocols(flags):
        entry = judge_once(
            small, model, protocol, flags.split, streams(flags.seed), flags.nets, session, protocol.name, keep
        )  # fmt: skip
        found.append({**entry, "source": source.data})
        if flags.split == "test":
            count_test_use(flags.folder / "distilled")
        each = ", ".join(f"{a:.1f}" for a in entry["accuracies"])
        print(
            f"{protocol.name}, {model.name} width {model.width} {model.norm} norm: {entry['accuracy']:.1f} % {flags.split} "
            f"accuracy (networks: {each})"
        )
    write_json(path, {"evaluations": found})
    if flags.save_model:
        print(f"model: {relative(flags.folder / 'model.safetensors')}")


def _plain(flags: Any) -> dict[str, Any]:
    return {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags)}
