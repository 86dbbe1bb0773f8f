"""`refluence evaluate DIR`: a distilled set judged again, the result beside the first one."""

from __future__ import annotations

from typing import Any

import torch

from refluence.commands.finished import open_data, open_finished
from refluence.commands.judge import judge_once
from refluence.commands.load_model import save_model
from refluence.commands.robust import judge_robust
from refluence.commands.session import check_numbers, relative
from refluence.commands.unit import choose_protocols
from refluence.data import count_test_use
from refluence.errors import InputError
from refluence.files import read_json, write_json
from refluence.run.seeds import streams


def run(flags: Any) -> None:
    """Train fresh networks under each protocol and append what they reach to evaluation.json."""
    check_numbers(flags)
    own = open_finished(flags.folder)
    chosen = choose_protocols(flags, ()) if flags.protocol else tuple(
        p.with_(epochs=flags.epochs, batch=flags.batch) for p in own.unit["protocols"]
    )  # fmt: skip
    changes = {k: getattr(flags, n) for k, n in (("name", "model"), ("width", "width"), ("norm", "norm"))}
    model = own.model.with_(**{k: v for k, v in changes.items() if v is not None})
    if flags.robust and flags.save_model:
        raise InputError("--robust trains many networks and keeps none: leave out --save-model, or --robust")
    session, source = open_data(own, flags)
    if flags.robust:
        return judge_robust(flags, own.small, model, chosen, session, source)
    path = flags.folder / "evaluation.json"
    found = read_json(path)["evaluations"]

    def keep(index: int, net: torch.nn.Module) -> None:
        if flags.save_model and index == 0:
            save_model(flags.folder / "model.safetensors", net, model, own.small)

    for protocol in chosen:
        facts = {"split": flags.split, "source": source, "width": model.width, "norm": model.norm, "seed": flags.seed}
        asked = {**facts, "protocol": protocol.name, "model": model.name, "nets": flags.nets}
        if flags.resume and any(all(entry.get(k) == v for k, v in asked.items()) for entry in found):
            print(f"{protocol.name}: evaluated already, nothing to do")
            continue
        if flags.split == "test":  # before: a kill must not lose a use
            count_test_use(flags.folder / "distilled")
        entry = judge_once(
            own.small, model, protocol, flags.split, streams(flags.seed), flags.nets, session, protocol.name, keep
        )
        found.append({**entry, **facts})
        write_json(path, {"evaluations": found})
        each = ", ".join(f"{a:.1f}" for a in entry["accuracies"])
        print(
            f"{protocol.name}, {model.name} width {model.width} {model.norm} norm: {entry['accuracy']:.1f} % {flags.split} "
            f"accuracy (networks: {each})"
        )
    if flags.save_model:
        print(f"model: {relative(flags.folder / 'model.safetensors')}")
