"""`refluence evaluate DIR`: a distilled set judged again, by one network or several, the results beside the first one."""

from __future__ import annotations

from dataclasses import fields

from torch import nn

from refluence.commands.finished import open_data
from refluence.commands.flags import Evaluate
from refluence.commands.networks import show_networks, show_quality, show_robust, the_networks
from refluence.commands.own_flags import EvaluateTask
from refluence.commands.session import machine_of, open_source, relative
from refluence.data.whitening import whitens
from refluence.errors import InputError, option, stated
from refluence.jobs import quality
from refluence.jobs.judge import unread
from refluence.jobs.judge_again import ROBUST, Again
from refluence.jobs.open_run import holds_student, open_finished, open_student, student_data
from refluence.jobs.resolve import choose_protocols
from refluence.jobs.students import judge_again
from refluence.models.stored import save_model

OF_QUALITY = (
    "folder",
    "data",
    "resume",
    "quality",
    "feature_network",
    "coverage_threshold",
)  # flags that mean something for --quality
OF_STUDENT = ("folder", "data", "split", "resume")  # flags that mean something for a student


def run(flags: Evaluate) -> None:
    """Train fresh networks of each kind under each protocol and append what they reach to evaluation.json.

    A student is judged as it is.
    """
    if holds_student(flags.folder):
        student(flags)
        return
    if flags.save_model and len(flags.model) > 1:
        raise InputError("--save-model keeps one network: name one --model")
    if flags.quality:
        measure(flags)
        return
    for name in ("feature_network", "coverage_threshold"):
        if (value := getattr(flags, name)) is not None:
            raise InputError(f"{stated(name, value)}: it is for {option('quality')}")
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
    again = Again(flags.folder, own.small, session, source, flags.split, flags.nets, flags.seed, flags.resume)
    if flags.robust:
        for title, entry, new in again.robust_entries(models[0], chosen):
            if new:
                show_robust(entry, flags.folder / ROBUST)
            else:
                print(f"{title}: scored already, nothing to do")
        return
    for note in unread(own.small, chosen):
        session.reporter.say(note)

    def keep(index: int, net: nn.Module) -> None:
        if flags.save_model and index == 0:
            save_model(flags.folder / "model.safetensors", net, models[0], own.small)

    entries = []
    for title, entry, new in again.entries(models, chosen, keep):
        entries.append(entry)
        each = ", ".join(f"{a:.1f}" for a in entry["accuracies"])
        said = f"{entry['accuracy']:.1f} % {flags.split} accuracy (networks: {each})"
        network = f"{entry['model']} width {entry['width']} {entry['norm']} norm"
        print(f"{entry['protocol']}, {network}: {said}" if new else f"{title}: evaluated already, nothing to do")
    if flags.save_model:
        print(f"model: {relative(flags.folder / 'model.safetensors')}")
    if len(models) > 1:
        show_networks(entries)


def measure(flags: Evaluate) -> None:
    """Measure the set beside real images, and write quality.json."""
    idle = [f.name for f in fields(EvaluateTask) if f.name not in OF_QUALITY and getattr(flags, f.name) != f.default]
    if idle:
        raise InputError(f"{option('quality')} judges no network: leave out {option(idle[0])}")
    own, path = open_finished(flags.folder), flags.folder / quality.FILE
    if flags.resume and path.exists():
        print(f"{relative(path)}: measured already, nothing to do")
        return
    session, _ = open_data(own, flags)
    found = quality.measure_again(own.job, own.small, session, flags.folder, flags.feature_network, flags.coverage_threshold)
    show_quality(found, path)


def student(flags: Evaluate) -> None:
    """Judge a student on its own data or on another source, and append what it reaches to evaluation.json."""
    job = open_student(flags.folder)
    idle = [f.name for f in fields(EvaluateTask) if f.name not in OF_STUDENT and getattr(flags, f.name) != f.default]
    if idle:
        raise InputError(f"{option(idle[0])} is for a set, on which networks are trained: {flags.folder} holds a student")
    source, options = student_data(flags.folder, flags.data)
    session = open_source(source, options, machine_of(flags))
    entry, new = judge_again(job, session, flags.folder, source, flags.split, resume=flags.resume)
    worst = entry["worst_class"]
    said = (
        f"{entry['accuracy']:.1f} % {flags.split} accuracy on {source}, worst class {worst['class']}: {worst['accuracy']:.1f} %"
    )
    print(said if new else f"{source}, {flags.split}: evaluated already, nothing to do")
