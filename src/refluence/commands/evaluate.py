"""`refluence evaluate DIR`: a distilled set judged again, by one network or several, the results beside the first one."""

from __future__ import annotations

from typing import Any

import torch

from refluence.commands.finished import open_data
from refluence.commands.networks import show_networks, the_networks
from refluence.commands.robust import judge_robust
from refluence.commands.session import relative
from refluence.data import count_test_use
from refluence.data.whitening import whitens
from refluence.errors import InputError
from refluence.files import read_json, write_json
from refluence.jobs.judge import judge_once, unread
from refluence.jobs.open_run import open_finished
from refluence.jobs.resolve import choose_protocols
from refluence.models.stored import save_model
from refluence.seeds import streams


def run(flags: Any) -> None:
    """Train fresh networks of each kind under each protocol and append what they reach to evaluation.json."""
    if flags.save_model and len(flags.model) > 1:
        raise InputError("--save-model keeps one network: name one --model")
    own = open_finished(flags.folder)
    chosen = choose_protocols(flags.protocol, flags.epochs, flags.batch, ()) if flags.protocol else tuple(
        p.with_(epochs=flags.epochs, batch=flags.batch) for p in own.job.protocols
    )  # fmt: skip
    models = the_networks(flags, own.job.model)
    if whitening := [p.name for p in chosen if whitens(p.zca, models[0].shape)] if flags.save_model else []:
        raise InputError(
            f"--save-model keeps a network for images as they are, {whitening[0]} whitens them: name another --protocol"
        )
    if flags.robust and (flags.save_model or len(models) > 1):
        raise InputError("--robust trains many networks of one kind and keeps none: leave out --save-model, name one --model")
    session, source = open_data(own, flags)
    if flags.robust:
        return judge_robust(flags, own.small, models[0], chosen, session, source)
    for note in unread(own.small, chosen):
        session.reporter.say(note)
    path = flags.folder / "evaluation.json"
    found = read_json(path)["evaluations"]
    asked_for = []

    for model, protocol in [(m, p) for m in models for p in chosen]:
        facts = {"source": source, "seed": flags.seed}
        network = {"model": model.name, "width": model.width, "norm": model.norm, "nets": flags.nets}
        asked = {**facts, **network, "protocol": protocol.name, "split": flags.split}
        there = [entry for entry in found if all(entry.get(k) == v for k, v in asked.items())]
        title = f"{model.name}, {protocol.name}" if len(models) > 1 else protocol.name
        if flags.resume and there:
            print(f"{title}: evaluated already, nothing to do")
            asked_for.append(there[-1])
            continue

        def keep(index: int, net: torch.nn.Module, spec=model) -> None:
            if flags.save_model and index == 0:
                save_model(flags.folder / "model.safetensors", net, spec, own.small)

        if flags.split == "test":  # before: a kill must not lose a use
            count_test_use(flags.folder / "distilled")
        entry = judge_once(own.small, model, protocol, flags.split, streams(flags.seed), flags.nets, session, title, keep)
        entry |= facts
        found.append(entry)
        asked_for.append(entry)
        write_json(path, {"evaluations": found})
        each = ", ".join(f"{a:.1f}" for a in entry["accuracies"])
        print(
            f"{protocol.name}, {model.name} width {model.width} {model.norm} norm: {entry['accuracy']:.1f} % {flags.split} "
            f"accuracy (networks: {each})"
        )
    if flags.save_model:
        print(f"model: {relative(flags.folder / 'model.safetensors')}")
    if len(models) > 1:
        show_networks(asked_for)
