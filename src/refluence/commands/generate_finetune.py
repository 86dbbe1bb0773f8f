"""`refluence generate finetune`: a denoiser whose samples represent the data and differ."""

from __future__ import annotations

from refluence.commands import generate_train
from refluence.commands.flags import GenerateFinetune
from refluence.commands.session import open_session
from refluence.fields import subset
from refluence.jobs.denoiser_runs import tuning
from refluence.options import FinetuneOptions
from refluence.run.folder import recorded_threads


def run(flags: GenerateFinetune) -> None:
    """Fine-tune (or resume) the denoiser, write the report, and say where it is and what comes next."""
    session = open_session(flags, threads=recorded_threads(flags.out))
    job = tuning(subset(FinetuneOptions, flags), flags.denoiser, session, flags.seed)
    generate_train.finish(job, session, flags)
