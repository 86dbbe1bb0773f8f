"""`refluence score --data SRC`: which training instances harm a classifier, judged by data that it was not trained on.

What is computed is in score/crossfit.py. Each instance is scored by networks that were not trained on it (`--folds`); a
network that was trained elsewhere (`--load`) scores all of them. The test split is not read.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

import torch

from refluence import __version__
from refluence.commands.rehearse import rehearse
from refluence.commands.score_files import read_weighting, write_page
from refluence.commands.score_parts import Part, load_part, remove, save_part, together
from refluence.commands.session import about, arguments, open_session, relative
from refluence.data import Dataset
from refluence.data.foreign import check_classes, doubts, normalised
from refluence.data.scores import ScoreTable, read_facts
from refluence.errors import InputError
from refluence.influence.bags import bag_weights
from refluence.jobs.session import Session
from refluence.models.classifier import Classifier, classifier
from refluence.models.custom import file_digest
from refluence.models.stored import StoredModel, put, read_model
from refluence.report.words import counted, duration
from refluence.run.folder import check_free, check_same, claimed, recorded_threads
from refluence.score.crossfit import score_fold, score_model
from refluence.score.folds import assign
from refluence.score.instances import engine_of
from refluence.score.settings import CrossFit
from refluence.seeds import streams

WEIGHTS = "influence:link=sigmoid,sign=-1,bag=all"  # KD-AIF's sigmoid on standardised scores: 1 at their mean
TRAINING = (
    "folds",
    "nets",
    "networks",
    "epochs",
    "batch",
    "lr",
    "weight_decay",
)  # flags that mean nothing for a trained network


def against_validation(flags: Any) -> None:
    """Score (or go on scoring) every training instance, then write Parquet and a page."""
    settings, weighting = settings_of(flags), read_weighting(flags.weights or WEIGHTS)
    stored = None if flags.load is None else read_model(flags.load)
    folder = flags.out.with_suffix(".parts")
    if not flags.out.exists():
        check_free(folder, "score", flags.resume)
    needed = settings.folds if stored is None and flags.small_classes == "drop" else 1
    flags = replace(flags, threads=flags.threads or recorded_threads(folder))
    session = open_session(flags, needed)
    dataset, nets = session.dataset, flags.nets or 1
    if flags.terms is None and dataset.validated_elsewhere:
        settings = replace(settings, terms="implicit")
        session.reporter.say(f"scores are of the risk on {dataset.validation} alone (--terms implicit)")
    network = _classifier(flags, stored, dataset)
    parts, trained, fold_of = [Part(None)], None, None
    if stored is None:
        _check_folds(settings.folds, dataset)
        draw, split = streams(flags.seed)("folds", 0), dataset.train
        fold_of = assign(split.labels, settings.folds, draw, split.groups, dataset.classes)
        parts = [Part(fold, net) for fold in range(settings.folds) for net in range(nets)]
    else:
        check_classes(stored.path, stored.facts, dataset)
        pixels, said = normalised(stored.path, stored.facts, dataset, flags.pixels)
        session = replace(session, dataset=pixels)
        trained, remarks = put(stored, network.make(streams(flags.seed)("network", 0)), network.name, len(dataset.classes))
        for line in [*([f"{flags.load}: {'; '.join(remarks)}"] if remarks else []), *([said] if said else [])]:
            session.reporter.say(line)
    resolved = {
        "seed": flags.seed,
        "nets": nets,
        "model": network.about,
        "load": None if flags.load is None else file_digest(flags.load),
        "crossfit": asdict(settings),
        "weights": asdict(weighting),
        "instances": _digest(dataset),
        **{key: value for key, value in about(session, flags).items() if key in ("data", "machine")},
    }
    title = f"{dataset.source}: which training instances help, which harm"
    if flags.out.exists():
        check_same(flags.out, read_facts(flags.out).get("resolved", {}), resolved)
        if not flags.out.with_suffix(".html").exists():
            write_page(flags.out, dataset, title)
        remove(folder, parts)
        print(f"{relative(flags.out)} is finished: nothing to do")
        return
    device = session.compute.device
    ways = {"compile": session.compute.compile, "precision": session.compute.precision}
    net = network.make(streams(flags.seed)("network", 0)) if trained is None else trained
    if ":" in network.name:  # not one of ours
        rehearse(net, session.dataset, settings, network.name, device, session.compute.precision)
    choice = engine_of(net, session.dataset, device, **ways)
    if settings.terms != "explicit":
        session.reporter.say(str(choice))
    with claimed(folder, "score", arguments(flags), resolved, flags.resume):
        for number, part in enumerate(parts):
            if (folder / part.name).exists():
                load_part(folder, part)  # a broken one is said now, not after hours
                continue
            begin = time.monotonic()
            how = {"rng": _streams(flags.seed, part.net), "device": device, "track": _track(session, number, parts), **ways}
            if trained is not None:
                if (flags.pixels or not stored.facts) and (doubt := doubts(trained, session.dataset, device)) is not None:
                    warnings.warn(f"{flags.load} may be misread: {doubt}", stacklevel=2)
                found = score_model(session.dataset, trained, settings, **how)
            else:
                found = score_fold(session.dataset, network.make, fold_of, part.fold, settings, **how)
            save_part(folder, part, found)
            left = (len(parts) - number - 1) * (time.monotonic() - begin)
            more = f", about {duration(left)} left" if left else ""
            session.reporter.say(f"network {number + 1} of {len(parts)}: {found.accuracy:.1f} % validation accuracy{more}")
        scored = together(folder, parts, len(dataset.train))
        if not scored.converged:
            session.reporter.say(
                f"the curvature solve stopped at a relative residual of {max(scored.residuals):.2g}: a larger --damping would "
                "help"
            )
        accuracy = fmean(scored.accuracies)
        facts = {
            "kind": "validation",
            "source": dataset.source,
            "classes": list(dataset.classes),
            "model": network.name,
            "load": None if flags.load is None else str(flags.load),
            "pixels": None if stored is None else {"mean": session.dataset.mean, "std": session.dataset.std},
            "labels": flags.labels,
            "train": len(dataset.train),
            "validation": {"images": len(dataset.val), "accuracy": accuracy, "accuracies": scored.accuracies},
            "folds": None if stored is not None else settings.folds,
            "nets": nets,
            "networks": settings.networks,
            "terms": settings.terms,
            "risk": settings.risk,
            "curvature": settings.curvature.kind,
            "damping": scored.dampings,
            "iterations": scored.iterations,
            "residual": scored.residuals,
            "converged": scored.converged,
            "weights": flags.weights or WEIGHTS,
            "seed": flags.seed,
            "version": __version__,
            "resolved": resolved,
        }
        rng, classes = streams(flags.seed), len(dataset.classes)
        weight = bag_weights(scored.score, scored.loss, dataset.train.labels, weighting, rng, classes=classes)
        found = {"fold": fold_of, "suggested": scored.suggested, "facts": facts}
        ScoreTable.of(dataset, scored.score, weight, scored.loss, **found).write(flags.out)
        page = write_page(flags.out, dataset, title)
    remove(folder, parts)
    how = (
        f"by {flags.load}"
        if fold_of is None
        else f"{'out of fold' if settings.networks == 'held-out' else 'by all folds'}, {counted(len(parts), 'network')}"
    )
    print(f"{network.name}: {accuracy:.1f} % validation accuracy on {counted(len(dataset.val), 'image')}")
    print(f"{len(dataset.train)} instances scored {how}: {relative(flags.out)}   page: {relative(page)}")


def settings_of(flags: Any) -> CrossFit:
    """The numbers of a run: the flags', else the defaults of `CrossFit` and `Curvature`."""
    if flags.load is None and flags.pixels is not None:
        raise InputError(f"--pixels {flags.pixels} is for a network that was trained elsewhere: it goes with --load")
    if flags.load is not None:
        for name in TRAINING:
            if (value := getattr(flags, name)) is not None:
                flag = f"--{name.replace('_', '-')} {value}"
                raise InputError(f"{flag} means nothing with --load, where nothing is trained: leave one of them out")
    curvature = {"kind": flags.curvature, "damping": None if flags.damping is None else _damping(flags.damping)}
    asked = {
        name: getattr(flags, name) for name in ("folds", "epochs", "batch", "lr", "weight_decay", "terms", "networks", "risk")
    }
    return replace(CrossFit(), **_given(asked), curvature=replace(CrossFit().curvature, **_given(curvature)))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _damping(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--damping {text}: expected a number, 0 or more, or auto") from None


def _classifier(flags: Any, stored: StoredModel | None, dataset: Dataset) -> Classifier:
    """The network of the flags; what they leave open is as in the file of `--load`."""
    facts = stored.facts if stored is not None and ":" not in (flags.model or "") else {}
    model, width, norm = (
        getattr(flags, name) if getattr(flags, name) is not None else facts.get(name) for name in ("model", "width", "norm")
    )
    return classifier(model, width, norm, dataset.shape, len(dataset.classes), trains=stored is None)


def _check_folds(folds: int, dataset: Dataset) -> None:
    """Every class must be in the training rows of every fold."""
    counts = [len(dataset.train.members(c)) for c in range(len(dataset.classes))]
    least = min(counts)
    if folds > least:
        name, few = dataset.classes[counts.index(least)], sum(count < folds for count in counts)
        most = f"at most {least} would do, or " if least > 1 else ""
        classes = "that class" if few == 1 else f"the {few} classes that have fewer than {folds}"
        raise InputError(
            f"--folds {folds}: class '{name}' has only {counted(least, 'training image')}; {most}--small-classes drop, which "
            f"leaves out {classes}"
        )


def _track(session: Session, number: int, parts: list[Part]) -> Callable[..., Iterator[Any]]:
    """A progress hook that says which network it is."""
    of = f"network {number + 1} of {len(parts)}, " if len(parts) > 1 else ""
    return lambda items, what, total: session.reporter.track(items, of + what, total)


def _streams(seed: int, net: int) -> Callable[..., torch.Generator]:
    """Random streams of one network of a fold."""
    rng = streams(seed)
    return rng if net == 0 else lambda purpose, index=0: rng(f"{purpose}/network {net}", index)


def _digest(dataset: Dataset) -> str:
    """Rows and labels of train and validation: another cut or another label gives another run."""
    found = hashlib.sha256()
    for split in (dataset.train, dataset.val):
        found.update(split.rows.numpy().tobytes() + split.labels.numpy().tobytes())
    return found.hexdigest()
