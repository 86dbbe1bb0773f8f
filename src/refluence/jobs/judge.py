"""A small set judged: fresh networks trained on it under each protocol, written to evaluation.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from refluence.data.distilled import DistilledSet, count_test_use, load_distilled
from refluence.data.whitening import whitening
from refluence.errors import InputError, RunError, option
from refluence.evaluate.evaluation import evaluate_set
from refluence.evaluate.measure import Scores, imbalance
from refluence.evaluate.protocol import Protocol
from refluence.evaluate.protocols import protocols
from refluence.files import Json, write_json
from refluence.jobs.job import Job
from refluence.jobs.session import Session
from refluence.jobs.source_network import labeller, shared_by
from refluence.models import ModelSpec, OwnSpec
from refluence.seeds import Rng, streams


def judge(job: Job, session: Session, folder: Path, shared: Path | None = None) -> None:
    """Train fresh networks on the job's set under every protocol and write evaluation.json.

    `shared`: where a teacher lies that jobs share (None: in `folder`).
    """
    small = load_distilled(folder / "distilled")
    place = shared or shared_by(folder)
    evaluations = list(judgements(job, small, session, lambda: count_test_use(folder / "distilled"), place))
    write_json(folder / "evaluation.json", {"evaluations": evaluations})


def judgements(
    job: Job,
    small: DistilledSet,
    session: Session,
    used: Callable[[], object] = lambda: None,
    shared: Path | None = None,
) -> Iterator[Json]:
    """One evaluation for each protocol of the job. `used()` is called before the test split is read: a kill loses no use.

    `shared`: where a teacher lies, or is trained (None: the session remembers it).
    """
    for note in unread(small, job.protocols):
        session.reporter.say(f"{job.what}: {note}")
    for protocol in job.protocols:
        if job.split == "test":
            used()
        what = f"{job.what}: {protocol.name}"
        yield judge_once(small, job.model, protocol, job.split, streams(job.seed), job.nets, session, what, shared=shared)


def unread(small: DistilledSet, chosen: Iterable[Protocol]) -> list[str]:
    """What was learned beside the images and no chosen protocol trains with, a sentence each."""
    notes = []
    for what, there, flag, pronoun in (
        ("soft labels", small.soft, "soft", "them"), ("learning rate", small.lr, "learned_lr", "it"),
    ):  # fmt: skip
        if there is not None and not any(getattr(protocol, flag) for protocol in chosen):
            readers = ", ".join(name for name, protocol in protocols().items() if getattr(protocol, flag))
            notes.append(f"the learned {what} of this set: no protocol here trains with {pronoun}; {readers} would")
    return notes


def judge_once(
    small: DistilledSet,
    model: ModelSpec,
    protocol: Protocol,
    split: str,
    rng: Rng,
    nets: int,
    session: Session,
    what: str,
    keep: Callable[[int, torch.nn.Module], None] = lambda index, net: None,
    shared: Path | None = None,
) -> Json:
    """One evaluation as plain values, under a progress bar. `keep(index, network)` sees each network when it is trained."""
    teacher = labeller(small, protocol, session, shared)
    held_out = session.dataset.test if split == "test" else session.dataset.val
    with session.reporter.bar(what, nets) as advance:

        def progress(index: int, scores: Scores, net: torch.nn.Module) -> None:
            keep(index, net)
            advance()

        try:
            compute = session.compute
            whitened = whitening(protocol.zca, session.dataset.normalised_as(small.mean, small.std))
            result = evaluate_set(
                small,
                model,
                protocol,
                held_out,
                rng,
                nets,
                compute.device,
                progress,
                teacher=teacher,
                compiled=compute.compiled,
                whitened=whitened,
            )
        except RunError as error:
            raise RunError(f"{what}: {error}") from None
        except ValueError as error:  # PyTorch's word for a batch norm that sees one number
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                f"{what}: batch norm cannot be trained on a batch of one image whose map is one pixel: another "
                f"{option('batch')} than "
                f"{protocol.batch} for {len(small.labels)} images, or a network with another norm"
            ) from None
    own = {"split": split, "imbalance": imbalance(held_out.labels), "width": model.width, "norm": model.norm}
    own |= {"sha256": model.sha256} if isinstance(model, OwnSpec) else {}
    return {**result.to_dict(), **own}
