"""A finished run, opened to be judged, scored or repeated: its set, its job, and the data that it was made from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from refluence.arm import read_arm
from refluence.data import Dataset, DistilledSet, SourceOptions, load_distilled, read_card
from refluence.data.readme import CARD
from refluence.digests import digest
from refluence.errors import InputError, again, option, says_flags
from refluence.files import Json
from refluence.generate.denoiser import Denoiser
from refluence.jobs.catalogue import Declaration, not_here
from refluence.jobs.job import Job, StudentJob
from refluence.jobs.run_job import finished
from refluence.run.folder import CONFIG, configuration

TRAIN, FINETUNE = DENOISERS = ("generate train", "generate finetune")
"""The commands whose folder holds a denoiser."""


@dataclass(frozen=True)
class Finished:
    """A finished job, its set, and its data as config.json describes them."""

    folder: Path
    small: DistilledSet
    card: Json
    job: Job
    data: Json


def open_finished(folder: Path, declared: Declaration | None = None) -> Finished:
    """The run in `folder`; `InputError` where there is none, or one that is a comparison or not finished.

    `declared`: its method, where that was given in Python; without it the run can be read and judged, not scored against.
    """
    if (folder / "distilled" / CARD).exists() and not (folder / CONFIG).exists():
        raise InputError(f"{folder} holds a set without its run: DistilledSet.load('{folder}') reads it")
    config = configuration(folder)
    if config["command"] == "run":
        raise InputError(f"{folder} holds a recipe: name one of its units, {folder}/PART/units/ARM/SEED")
    if config["command"] == "compare":
        raise InputError(f"{folder} holds a comparison: name one of its units, {folder}/units/ARM/SEED")
    if config["command"] == "transfer":
        raise InputError(f"{folder} holds a student: rf.StudentRun.load('{folder}') reads it")
    refuse_denoiser(folder)
    require_finished(folder, config)
    card = read_card(folder / "distilled")
    resolved = config["resolved"]
    job = Job.from_json(resolved["unit"], None, _declared(folder, resolved, declared))
    return Finished(folder, load_distilled(folder / "distilled"), card, job, resolved["data"])


def open_student(folder: Path) -> StudentJob:
    """The job of a finished `transfer` in `folder`. `InputError` where there is none."""
    config = configuration(folder)
    if config["command"] != "transfer":
        raise InputError(f"{folder} holds a run of '{config['command']}', and no student")
    if not finished(folder):
        raise InputError(f"the run in {folder} is not finished: {again()} ends it")
    return StudentJob.from_json(config["resolved"]["unit"])


def holds_student(folder: Path) -> bool:
    """Whether `folder` is that of a `transfer`, or of a unit of a comparison of students."""
    return (folder / CONFIG).exists() and configuration(folder)["command"] == "transfer"


def student_data(folder: Path, source: str | None) -> tuple[str, SourceOptions]:
    """What to open to judge a student: another source at its size, or its own data as its run read them."""
    data = configuration(folder)["resolved"]["data"]
    stored = {f.name: data["options"][f.name] for f in fields(SourceOptions) if f.name in data["options"]}
    if source is None:
        return data["source"], SourceOptions(**stored)
    kept = ("image_size", "tokenizer", "max_length", "text_columns")
    return source, SourceOptions(**{name: stored[name] for name in kept if name in stored})


def _declared(folder: Path, resolved: Json, given: Declaration | None) -> Declaration | None:
    name, known = read_arm(resolved["unit"]["arm"]).method, resolved.get("declared")
    if given is None:
        return None if known is None else not_here(name, resolved["unit"])
    if known is None:
        raise InputError(f"{folder} was made by the package's method '{name}': leave method out")
    if (given.name, digest(given)) != (name, known):
        raise InputError(f"{folder} was made by another method '{name}' than the one that is given")
    return given


def require_finished(folder: Path, config: Json) -> None:
    """`InputError` for a run that was stopped before its end."""
    if config["command"] in DENOISERS:
        done = (folder / Denoiser.kind / CARD).exists()
    else:
        done = (folder / "results.json").exists() if config["command"] in ("compare", "run") else finished(folder)
    if not done:
        raise InputError(f"the run in {folder} is not finished: {again()} ends it")


def refuse_denoiser(folder: Path) -> None:
    """`InputError` for a folder that holds a denoiser, and no set."""
    if (folder / CONFIG).exists() and configuration(folder)["command"] in DENOISERS:
        where = option("denoiser", folder)
        said = f"refluence generate sample {where}" if says_flags() else f"rf.generate(…, {where})"
        raise InputError(f"{folder} holds a denoiser: {said} samples a set from it")


def data_of(run: Finished, source: str | None, asked: SourceOptions) -> tuple[str, SourceOptions, int]:
    """What to open for a finished run: a source, how it is read, and the images that a class must have.

    `source`: another one than the run's own, read with the run's image size unless another is asked for. Of the run's own, what
    is not asked for is as the run read it. One image of a class is enough to judge or to score on another source.
    """
    stored = {f.name: run.data["options"][f.name] for f in fields(SourceOptions) if f.name in run.data["options"]}
    if source is not None:
        return source, replace(asked, image_size=asked.image_size or stored.get("image_size")), 1
    usual = SourceOptions()
    left = {name: value for name, value in stored.items() if getattr(asked, name) == getattr(usual, name)}
    return run.data["source"], replace(asked, **left), run.job.per_class


def check_fits(name: str, dataset: Dataset, small: DistilledSet) -> None:
    """`InputError` where a dataset has other classes or another shape than a distilled set."""
    if dataset.classes != small.classes:
        raise InputError(
            f"{name} has the classes {_few(dataset.classes)}, the distilled set {_few(small.classes)}: they must be the same"
        )
    if dataset.shape != tuple(small.images.shape[1:]):
        raise InputError(
            f"{name} has images of {_shape(dataset.shape)}, the distilled set of {_shape(tuple(small.images.shape[1:]))}: "
            f"they must be the same ({option('image_size')} resizes)"
        )


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names)})" if len(names) > 5 else "")


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
