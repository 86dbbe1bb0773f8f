"""Small sets: learned, sampled or chosen, and their work at its first step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refluence import keywords, report
from refluence.api.sources import Data, session_for
from refluence.data import DistilledSet, load_distilled, read_card
from refluence.data.run_scores import RunScores
from refluence.data.scores import ScoreTable
from refluence.errors import InputError, stated
from refluence.files import Json
from refluence.generate.arms import refuse_idle
from refluence.generate.denoiser import Denoiser
from refluence.generate.method import Generator
from refluence.jobs.catalogue import Declaration, own_methods, parse_arm, refuse_sampled
from refluence.jobs.catalogue import methods as catalogue
from refluence.jobs.cleanable import refuse_unread
from refluence.jobs.job import Job
from refluence.jobs.preparing import prepared_for
from refluence.jobs.resolve import resolve
from refluence.jobs.run_job import make
from refluence.jobs.session import Machine, Session
from refluence.jobs.single import make as make_in
from refluence.options import (
    JobOptions,
    SampleOptions,
    SeedOptions,
    SetOptions,
)
from refluence.results import Run
from refluence.run import device
from refluence.seeds import streams
from refluence.select.selection import Selection
from refluence.work import Work


def distill(
    data: Data,
    method: str | Declaration = "dc",
    *,
    seed: int = 0,
    out: str | Path | None = None,
    **options: Any,
) -> Run:
    """Make one small set.

    Args:
        data: a dataset from `load`, or what `load` takes: another run's set is distilled once more.
        method: an arm, such as `"dm+influence:tau=.5"`, or a `Method` or `Selection` of your own.
        seed: everything random follows from it.
        out: a folder for the run as `refluence distill` writes it: also judged (`protocol`, `nets`, `split`), with its page.
            The same call continues a run that was stopped. None: nothing is written, and no network judges.
        options: fields of `JobOptions` (`ipc`, `iterations`, `model`, `width` …) and of `Machine` (`device`, `precision`,
            `compile`, `threads`, `progress`, `checkpoint_seconds`). `model` is a name,
            `"FILE.py:FUNCTION"`, or any function (shape, classes) -> `nn.Module`, such as a class that takes both.

    Returns:
        A run: `set`, `card`, `costs`, and `scores` where influence was measured.

    Raises:
        InputError: what cannot run, before any work.
        RunError: numbers that are no longer finite.

    Example:
        >>> import refluence as rf
        >>> run = rf.distill("digits", "dm", ipc=1, iterations=2, width=4)
        >>> tuple(run.set.images.shape)
        (10, 1, 8, 8)
    """
    keywords.check(options, keywords.names(JobOptions) | keywords.names(Machine), distill)
    session, job = _opened(data, method, seed, options)
    return _run(job, keywords.asked(options), session, keywords.folder(out))


def generate(
    data: Data,
    method: str | Generator = "dit+igd",
    *,
    denoiser: str | Path | Denoiser = "dit",
    seed: int = 0,
    out: str | Path | None = None,
    **options: Any,
) -> Run:
    """Sample one small set from a diffusion model, steered by influence and diversity.

    Args:
        data: as in `distill`. No class needs as many images as are sampled of it.
        method: an arm: `"dit"`, `"dit+influence"`, `"dit+deviation"`, `"dit+igd"` (both), `"dit+pool"` (no guidance, the best
            of more images), each with options as in `"dit+igd:k=10,steps=20"`; `"dit+entropy"`, `"dit+modes"` and
            `"dit+learnability"`, the guidance of UAG, MGD3 and LGD; `"minimax"` or `"d4m"` in the place of `"dit"`. Without an
            arm: `"dit+igd"`, while `refluence generate sample` guides only where `--guidance` says so.
        denoiser: `"dit"` or `"unet"`, trained first on the data; or one that is there: a folder, a name of the Hub
            (`"hf:facebook/DiT-XL-2-256"`), or what `train_denoiser` and `finetune_denoiser` gave.
        seed: everything random follows from it, but for what is trained first.
        out: a folder for the run as `refluence generate sample` writes it: also judged, with its page. The same call continues
            a run that was stopped. None: nothing is written, and no network judges.
        options: fields of `SampleOptions` (`ipc`, `surrogate`, `k`, `gamma`, `cfg`, `solver`, `steps`, `range` …) and of
            `Machine`.

    Returns:
        A run: `set`, `card` (what was guided, mean influence, the denoiser and its seconds), `costs`.

    Raises:
        InputError: what cannot run, before any work: a denoiser of other classes, a range that holds no step.
        RunError: numbers that are no longer finite.

    Example:
        >>> import refluence as rf
        >>> run = rf.generate("digits", "dit+igd", ipc=1, steps=10, denoiser_iterations=2, surrogate_epochs=1)
        >>> run
        Run(dit+igd seed 0: 10 images of 10 classes)
    """
    keywords.check(options, keywords.names(SampleOptions) | keywords.names(Machine), generate)
    own = own_methods([method])
    arm, asked = parse_arm(method, own), keywords.asked({**options, "denoiser": denoiser})
    declared = own.get(arm.method) or catalogue()[arm.method]
    if not isinstance(declared, Generator):
        raise InputError(f"{stated('method', arm.name)}: it samples no images: rf.distill makes its set")
    refuse_idle(arm, declared, asked)
    session = session_for(data, options)
    job = resolve(asked, arm, session.dataset, SeedOptions(seed=seed).seed, own.get(arm.method))
    refuse_unread(asked.scores, [job])
    return _run(job, asked, session, keywords.folder(out))


def select(
    data: Data,
    method: str | Selection = "random",
    *,
    seed: int = 0,
    out: str | Path | None = None,
    **options: Any,
) -> Run:
    """Choose real images: `distill` by a method that keeps some of them.

    Args:
        data: as in `distill`.
        method: an arm of a selection, such as `"herding"`, `"el2n"` or `"random:factor=2"`, or a `Selection` of your own.
        seed: everything random follows from it.
        out: as in `distill`.
        options: as in `distill`.

    Returns:
        A run whose `set` holds real images.

    Raises:
        InputError: a method that learns images, and what `distill` refuses.

    Example:
        >>> import refluence as rf
        >>> len(rf.select("digits", "random", ipc=2).set)
        20
    """
    own_methods([method])
    declared = catalogue().get(method.partition(":")[0]) if isinstance(method, str) else method
    if declared is not None and not isinstance(declared, Selection):
        raise InputError(f"{declared.name} learns images: rf.distill makes its set, rf.select keeps real ones")
    return distill(data, method, seed=seed, out=out, **options)


def start(data: Data, method: str | Declaration = "dc", *, seed: int = 0, **options: Any) -> Work:
    """The work of `distill` or `generate` at its first step, for a loop of your own.

    Args:
        data: as in `distill`.
        method: as in `distill` or `generate`; a denoiser and a surrogate are trained before the work is given.
        seed: as in `distill`.
        options: as in `distill` or `generate`, but for `threads` and `progress`, which are the loop's own.

    Returns:
        A work: `steps()` yields an event a step; between two of them `state()` gives the tensors of a checkpoint and
        `restore` takes them; `result()` at the end has the set as `artifact`.

    Raises:
        InputError: what cannot run, before any work.

    Example:
        >>> import refluence as rf
        >>> work = rf.start("digits", "dm", ipc=1, iterations=2, width=4)
        >>> [event.step for event in work.steps()], len(work.result().artifact)
        ([0, 1], 10)
    """
    if options.get("threads"):
        raise InputError(f"threads is {options['threads']}: a loop of your own sets them, torch.set_num_threads(…)")
    if options.get("progress"):
        raise InputError("progress is True: a loop of your own shows how far it is, by work.step and work.total")
    keywords.check(options, keywords.names(SetOptions) | keywords.names(Machine), start)
    session, job = _opened(data, method, seed, options, sampled=True)
    job, prepared = prepared_for(job, session, None)
    return job.plan.open(session.dataset, job.model, streams(job.seed), session.compute, prepared)


def _opened(
    data: Data, method: str | Declaration, seed: int, options: Mapping[str, Any], sampled: bool = False
) -> tuple[Session, Job]:
    seed = SeedOptions(seed=seed).seed
    own = own_methods([method])
    arm, asked = parse_arm(method, own), keywords.asked(options)
    if not sampled:
        refuse_sampled(arm)
    session = session_for(data, options)
    job = resolve(asked, arm, session.dataset, seed, own.get(arm.method))
    job.plan.check_model(job.model)
    refuse_unread(asked.scores, [job])
    return session, job


def _run(job: Job, asked: SetOptions, session: Session, folder: Path | None) -> Run:
    """The job in its folder, if it has one, and what came of it."""
    with device.threads(keywords.threads(session, folder)):
        if folder is None:
            small, card, measured = _made(job, session)
            return Run(job, small, card, measured=measured, data=session.dataset)
        make_in(job, asked, session, folder, page=report.write)
    return Run(job, load_distilled(folder / "distilled"), read_card(folder / "distilled"), folder, data=session.dataset)


def _made(job: Job, session: Session) -> tuple[DistilledSet, Json, ScoreTable | None]:
    result, card = make(job, session, None)
    assert isinstance(result.artifact, DistilledSet), "what methods and selections make"
    measured = next((beside.table for beside in result.beside if isinstance(beside, RunScores)), None)
    return result.artifact, card, measured
