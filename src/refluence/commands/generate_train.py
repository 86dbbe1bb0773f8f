"""`refluence generate train`: a denoiser of one's own data, from scratch."""

from __future__ import annotations

import shlex
from dataclasses import fields

from refluence import report
from refluence.commands.flags import GenerateFinetune, GenerateTrain
from refluence.commands.session import open_session, relative
from refluence.fields import subset
from refluence.files import Json
from refluence.generate.denoiser import Denoiser
from refluence.jobs.denoiser_runs import PAGE, DenoiserJob, make, training
from refluence.jobs.session import Session
from refluence.options import DenoiserOptions, SourceOptions
from refluence.run.folder import recorded_threads


def run(flags: GenerateTrain) -> None:
    """Train (or resume) the denoiser, write the report, and say where it is and what comes next."""
    session = open_session(flags, threads=recorded_threads(flags.out))
    finish(training(subset(DenoiserOptions, flags), session, flags.seed), session, flags)


def finish(job: DenoiserJob, session: Session, flags: GenerateTrain | GenerateFinetune) -> None:
    """Make what the job makes, and say it."""
    made, card, done = make(job, session, flags.out, resume=flags.resume, page=report.write)
    print(said(made, card))
    print(f"report: {relative(flags.out / PAGE)}   denoiser: {relative(flags.out / Denoiser.kind)}")
    if done:
        print(f"{relative(flags.out)} is finished: nothing to do")
    out = relative(flags.out.with_name(f"{flags.out.name}-sample"))
    data = shlex.join(["--data", str(flags.data), *reading(subset(SourceOptions, flags))])
    print(f"next: refluence generate sample {data} --denoiser {relative(flags.out)} --out {out}")


def reading(asked: SourceOptions) -> list[str]:
    """The flags that read a source in the same way: those that are not as usual."""
    found: list[str] = []
    for field in fields(asked):
        value, flag = getattr(asked, field.name), f"--{field.name.replace('_', '-')}"
        if value != field.default:
            shown = ",".join(value) if isinstance(value, tuple) else str(value)
            found += [flag] if value is True else [flag, shown]
    return found


def said(made: Denoiser, card: Json) -> str:
    """One line about a denoiser."""
    classes, sides = len(made.classes), " x ".join(map(str, made.config.shape[1:]))
    tuned = "" if made.method == "dit" else f" fine-tuned by {made.method}"
    latent = "" if made.config.autoencoder is None else f", on latents of {' x '.join(map(str, made.shape))}"
    if "autoencoder" in card:
        latent += f" from which training images come back with a PSNR of {card['autoencoder']['psnr']['train']:.1f} dB"
    return (
        f"denoiser{tuned} ({made.config.kind}, {made.config.prediction}): {made.parameters:,} parameters, {classes} classes of "
        f"{sides} pixels{latent}, {card['seconds']:.0f} s to make"
    )
