"""What a job needs before its first step: the ranking of a pruned arm, made once and kept in the job's folder."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from refluence.compute import Compute
from refluence.condense.job import Distilling
from refluence.condense.loop import Distillation
from refluence.condense.prune import kept
from refluence.data import Dataset
from refluence.errors import InputError
from refluence.files import write_tensors
from refluence.influence.weighting import Weighting
from refluence.jobs.job import Job, Plan
from refluence.seeds import streams
from refluence.select.influence import STEPS as POINTS
from refluence.select.influence import scores as influence_scores
from refluence.select.job import Selecting
from refluence.select.young_networks import STEPS, losses, mean_over_networks
from refluence.work import Prepared

FILE = "kept.safetensors"
FULL = {"influence": POINTS, "loss": STEPS, "random": 0}  # steps of the networks, or points, that a ranking takes


def pretraining(plan: Plan) -> int:
    """The steps of the networks, or the points, that selecting or ranking takes; 0 where there are none."""
    if isinstance(plan, Selecting):
        return plan.selection.steps
    return FULL[plan.ranking] if plan.ranking else 0


def prepare(job: Job, dataset: Dataset, compute: Compute, folder: Path | None) -> Prepared:
    """What the job needs, read from its folder or made and written there.

    `kept.safetensors`: `rows` that were kept, and `scores` of every training instance (the highest are best).
    """
    if not isinstance(job.plan, Distilling) or not job.plan.weighting.prunes:
        return Prepared()
    path = None if folder is None else folder / FILE
    if path is not None and path.exists():
        return _read(path)
    begin = time.monotonic()
    ranking = scores(job, dataset, compute)
    positions = kept(ranking, dataset, job.plan.weighting.keep, job.plan.weighting.sign)
    made = Prepared({"rows": dataset.train.rows[positions], "scores": ranking}, time.monotonic() - begin)
    if path is not None:
        write_tensors(path, made.tensors, {"seconds": str(made.seconds)})
    return made


def scores(job: Job, dataset: Dataset, compute: Compute) -> Tensor:
    """What instances are ranked by `(N,)`, the highest kept first: influence, minus the loss, or random numbers.

    Influence is that of the job's own method at its own initial images, at random real ones where these are noise (ours: the
    source does not say where); the loss is the mean over three networks trained on the training split
    (`select/young_networks.py`).
    """
    plan, rng = job.plan, streams(job.seed)
    assert isinstance(plan, Distilling), "a selection does not prune"
    if plan.ranking == "random":
        return torch.rand(len(dataset.train), generator=rng("prune-random", 0), dtype=torch.float64)
    if plan.ranking == "loss":
        return -mean_over_networks(losses, dataset, job.model, rng, compute.device, plan.steps)
    settings = plan.settings.with_(initial="real") if plan.settings.initial == "noise" else plan.settings
    start = Distillation(plan.method, settings, Weighting(), dataset, job.model, rng, compute)
    return influence_scores(
        start.images, start.labels, plan.method, settings, dataset, job.model, rng, compute.device, plan.steps
    )


def _read(path: Path) -> Prepared:
    """What an earlier session wrote."""
    try:
        with safe_open(path, "pt") as file:
            return Prepared({name: file.get_tensor(name) for name in ("rows", "scores")}, float(file.metadata()["seconds"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not what a run that prunes wrote ({error}); delete it to rank again") from error
