"""`refluence evaluate DIR`: a distilled set judged again, the result beside the first one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from refluence.commands.session import open_session, relative
from refluence.commands.unit import choose_protocols
from refluence.data import SourceOptions, count_test_use, load_distilled, read_card
from refluence.errors import InputError
from refluence.evaluate.measure import evaluate
from refluence.evaluate.train import train
from refluence.files import read_json, write_json, write_tensors
from refluence.models import ModelSpec
from refluence.run.folder import configuration
from refluence.run.seeds import streams


def run(flags: Any) -> None:
    """Train fresh networks under each protocol and append what they reach to evaluation.json."""
    config = configuration(flags.folder)
    if not (flags.folder / "distilled").exists():
        raise InputError(
            f"{flags.folder} holds no distilled set; a comparison's sets are in its units/ARM/SEED folders"
        )
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
        raise InputError(
            f"{source.data} has images {session.dataset.shape}, the distilled set {tuple(small.images.shape[1:])}"
        )
    fields = {**card["model"], "shape": tuple(card["model"]["shape"])}
    changes = {
        k: getattr(flags, n) for k, n in (("name", "model"), ("width", "width"), ("norm", "norm")) if getattr(flags, n)
    }
    model = ModelSpec(**{**fields, **changes})
    split = session.dataset.test if flags.split == "test" else session.dataset.val

    path = flags.folder / "evaluation.json"
    found = read_json(path)["evaluations"] if path.exists() else []
    for protocol in choose_protocols(flags):
        result = evaluate(
            small.images, small.labels, model, protocol, split, small.mean, small.std,
            streams(flags.seed), flags.nets, session.device,
            lambda steps, name=protocol.name: session.reporter.track(steps, name, len(steps)),
        )  # fmt: skip
        entry = {**result.to_dict(), "split": flags.split, "model": dataclasses.asdict(model), "source": source.data}
        found.append(entry)
        if flags.split == "test":
            count_test_use(flags.folder / "distilled")
        spread = (
            f", {min(entry['accuracies']):.1f} to {max(entry['accuracies']):.1f}"
            if len(entry["accuracies"]) > 1
            else ""
        )
        print(f"{protocol.name}, {model.name} width {model.width} {model.norm} norm: {entry['accuracy']:.1f} % {flags.split} "
              f"accuracy ({flags.nets} networks{spread})")  # fmt: skip
    write_json(path, {"evaluations": found})
    if flags.save_model:
        net, _ = train(
            small.images, small.labels, model, choose_protocols(flags)[0], streams(flags.seed), 0, session.device
        )
        write_tensors(flags.folder / "model.safetensors", net.state_dict())
        print(f"model: {relative(Path(flags.folder) / 'model.safetensors')}")


def _plain(flags: Any) -> dict[str, Any]:
    return {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags)}
