"""A denoiser trained or fine-tuned in a folder of its own: what `refluence generate train` and `generate finetune` write.

DIR/config.json   metrics.jsonl   checkpoint/   denoiser/   report.html
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, TypeVar

from refluence.data.text import refuse_texts
from refluence.errors import InputError, option
from refluence.fields import settings_of
from refluence.files import Json, read_json
from refluence.generate.beforehand import Trained, called_by, denoiser_of, read_denoiser
from refluence.generate.denoiser import Denoiser, digest
from refluence.generate.denoiser_config import PRETRAINED
from refluence.generate.denoiser_folder import CARD, CONFIG, holds_denoiser, load_denoiser
from refluence.generate.minimax import MinimaxSettings, minimax_defaults
from refluence.generate.minimax_work import MinimaxWork
from refluence.jobs import denoiser_samples
from refluence.jobs.open_run import FINETUNE, TRAIN
from refluence.jobs.session import Session, about
from refluence.options import DenoiserOptions, FinetuneOptions, SamplingOptions
from refluence.run.drive import drive
from refluence.run.folder import claimed
from refluence.seeds import streams
from refluence.work import Work

T = TypeVar("T")
PAGE = "report.html"


@dataclass(frozen=True)
class Training:
    """A denoiser from scratch: everything that decides it beside data and machine, resolved."""

    command: ClassVar[str] = TRAIN

    asked: DenoiserOptions
    denoiser: Trained
    seed: int = 0

    def facts(self) -> Json:
        """Plain values, for config.json."""
        return {"denoiser": self.denoiser.to_json()}

    def arguments(self) -> Json:
        """What was asked for, as the command takes it."""
        return asdict(self.asked)

    def open(self, session: Session) -> Work:
        """The work at its first step."""
        return self.denoiser.open(session.dataset, streams(self.seed), session.compute)


@dataclass(frozen=True)
class Tuning:
    """A denoiser from another one. `where`: the folder or name that it was read from, as it was asked for."""

    command: ClassVar[str] = FINETUNE

    asked: FinetuneOptions
    where: str
    base: Denoiser
    settings: MinimaxSettings
    seed: int = 0

    def facts(self) -> Json:
        """See `Training`."""
        base = {"sha256": digest(self.base), "where": self.where, "method": self.base.method}
        return {"denoiser": base, self.asked.method: asdict(self.settings)}

    def arguments(self) -> Json:
        """See `Training`."""
        return {"denoiser": self.where, **asdict(self.asked)}

    def open(self, session: Session) -> Work:
        """See `Training`."""
        base = copy.deepcopy(self.base)  # the one that was given stays as it is, and where it is
        return MinimaxWork(base, self.settings, session.dataset, streams(self.seed), session.compute)


DenoiserJob = Training | Tuning


def training(asked: DenoiserOptions, session: Session, seed: int = 0) -> Training:
    """The training that is asked for on the data of a session.

    Raises:
        InputError: texts, or images that such a denoiser cannot be made for.
    """
    refuse_texts(session.dataset, "a denoiser")
    wanted = SamplingOptions(
        denoiser=asked.network,
        prediction=asked.prediction,
        denoiser_iterations=asked.iterations,
        space=asked.space,
        autoencoder_iterations=asked.autoencoder_iterations,
    )
    resolved = denoiser_of(wanted, session.dataset, asked.size)
    assert isinstance(resolved, Trained), "dit and unet are trained"
    return Training(asked, resolved, seed)


def tuning(asked: FinetuneOptions, base: str | Denoiser, session: Session, seed: int = 0) -> Tuning:
    """The fine-tuning that is asked for of a denoiser: a folder or name, or itself.

    Raises:
        InputError: no denoiser, or one of other classes, of another size or that is fine-tuned already.
    """
    dataset = session.dataset
    refuse_texts(dataset, "a denoiser")
    found, where = read_denoiser(base, dataset), called_by(base)
    if found.method == asked.method:
        raise InputError(
            f"{option('denoiser')} {where} is fine-tuned by {asked.method} already: give the one that it was made from"
        )
    settings = minimax_defaults(asked.size, len(dataset.train))
    if asked.iterations is not None:
        settings = replace(settings, iterations=asked.iterations)
    return Tuning(asked, where, found, settings, seed)


def make(
    job: DenoiserJob,
    session: Session,
    folder: Path | None,
    *,
    resume: bool = True,
    page: Callable[[Path], object] | None = None,
) -> tuple[Denoiser, Json, bool]:
    """Do the work from the start or its last checkpoint, and write the denoiser and its page; None writes nothing.

    Returns:
        The denoiser, its card, and whether the run was finished before.

    Raises:
        InputError: a folder that holds another run, or is in use.
        RunError: numbers that are no longer finite.
    """
    dataset = session.dataset
    with _claimed(job, session, folder, resume, page is not None) as done:
        if done:
            assert folder is not None, "a run that is finished lies somewhere"
            return load_denoiser(folder, dataset.classes, dataset.shape), card_of(folder), True
        result, costs = drive(job.open(session), folder, f"{job.command} seed {job.seed}", session.driver)
        made = result.artifact
        assert isinstance(made, Denoiser), "what these works make"
        card = {
            "command": job.command,
            "seed": job.seed,
            "source": dataset.source,
            "train": len(dataset.train),
            "notes": list(dataset.notes),
            **result.card,
            **costs,
            "stored_bytes": made.stored_bytes,
        }
        if folder is not None:
            made.save(folder, card)
            card = card_of(folder)
            if page is not None:
                if looked_at(made):
                    denoiser_samples.write(made, session, job.seed, folder / Denoiser.kind)
                page(folder)
    return made, card, False


def looked_at(denoiser: Denoiser) -> bool:
    """Whether samples of it are shown on its page: they need diffusers, and of one that is loaded they would take long."""
    return denoiser.config.kind != PRETRAINED and find_spec("diffusers") is not None


def _claimed(job: DenoiserJob, session: Session, folder: Path | None, resume: bool, page: bool) -> AbstractContextManager[bool]:
    if folder is None:
        return nullcontext(False)
    dataset = session.dataset
    where = {"data": dataset.source, "out": str(folder), "resume": False, "seed": job.seed}
    arguments = {**job.arguments(), **asdict(dataset.options), **session.machine.arguments(), **where}
    resolved = {**job.facts(), "seed": job.seed, **about(session)}
    outcome = (f"{Denoiser.kind}/{CARD}", *([PAGE] if page else []))
    return claimed(folder, job.command, arguments, resolved, resume, outcome=outcome)


def card_of(folder: Path) -> Json:
    """What is known of the denoiser that a run made."""
    card: Json = read_json(folder / Denoiser.kind / CARD)
    return card


def method_of(where: str) -> str:
    """The arm that samples from a denoiser: `dit`, or how it is fine-tuned. One that is not there is refused later."""
    place = holds_denoiser(Path(where))
    return "dit" if place is None else str(read_json(place / CONFIG).get("method", "dit"))


def again(config: Json, session: Session) -> DenoiserJob:
    """The job of a run whose config.json this is."""
    arguments, seed = config["arguments"], config["resolved"]["seed"]
    if config["command"] == TRAIN:
        recorded = {"space": "pixels", **arguments}  # earlier versions had no choice
        return training(_options(DenoiserOptions, recorded), session, seed)
    return tuning(_options(FinetuneOptions, arguments), arguments["denoiser"], session, seed)


def _options(kind: type[T], arguments: Json) -> T:
    declared: type = kind
    return kind(**{name: arguments[name] for name in settings_of(declared) if name in arguments})
