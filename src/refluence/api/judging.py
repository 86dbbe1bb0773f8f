"""Sets and students judged on held-out images, and sets measured beside real ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

from refluence import keywords
from refluence.api.sources import Data, open, session_for
from refluence.data import DistilledSet, count_test_use, load_distilled
from refluence.data.whitening import whitening
from refluence.errors import InputError, stated
from refluence.evaluate.evaluation import Evaluation, evaluate_set
from refluence.evaluate.quality import Quality
from refluence.jobs.judge import unread
from refluence.jobs.measuring import measuring
from refluence.jobs.open_run import check_fits, holds_student
from refluence.jobs.quality import measure
from refluence.jobs.resolve import choose_protocols
from refluence.jobs.session import Machine, Session
from refluence.jobs.source_network import labeller
from refluence.jobs.students import check_fits as check_student
from refluence.jobs.students import count_use, judgement
from refluence.models import ModelSpec, another, network
from refluence.options import (
    JobOptions,
    SeedOptions,
)
from refluence.results import Judged, Run, StudentRun
from refluence.run import device
from refluence.run.folder import CONFIG
from refluence.seeds import streams
from refluence.transfer.artifact import Student


@overload
def evaluate(small: DistilledSet | Run, data: Data, protocol: str = ..., *, seed: int = ..., **options: Any) -> Evaluation: ...
@overload
def evaluate(small: StudentRun, data: Data, protocol: str = ..., *, seed: int = ..., **options: Any) -> Judged: ...
@overload
def evaluate(small: str | Path, data: Data, protocol: str = ..., *, seed: int = ..., **options: Any) -> Evaluation | Judged: ...
def evaluate(
    small: DistilledSet | Run | StudentRun | str | Path,
    data: Data,
    protocol: str = "dc-cpu",
    *,
    seed: int = 0,
    **options: Any,
) -> Evaluation | Judged:
    """Judge a set: fresh networks trained on it, scored on held-out images. Or a student, as it is.

    Args:
        small: a set, a run of a set or a student, or the folder of any; the card in a folder counts each use of the test split.
            A student takes no option but `split` and the fields of `Machine`.
        data: where the held-out images are, as in `distill`.
        protocol: how networks are trained (`refluence ls` lists them).
        seed: the networks follow from it.
        options: `nets`, `split` ("test" or "val"), `model`, `width`, `norm` (default: those of a run or its folder, else
            convnet, 32, its own), `epochs`, `batch`, and the fields of `Machine`.

    Returns:
        `accuracy` in percent, `accuracies` of each network, `balanced_accuracy`, `macro_f1`; of a student `worst_class` and
        `per_class` beside.

    Raises:
        InputError: a set that does not fit the data, an unknown protocol, option or value; a run whose network was a function
            given in Python, where `model` is not given again.

    Example:
        >>> import refluence as rf
        >>> small = rf.select("digits", "random", ipc=2).set
        >>> 0 <= rf.evaluate(small, "digits", nets=1, epochs=1, width=4).accuracy <= 100
        True
    """
    if isinstance(small, (str, Path)) and holds_student(Path(small)):
        small = StudentRun.load(small)
    if isinstance(small, StudentRun):
        return _judged(small, data, {**({} if protocol == "dc-cpu" else {"protocol": protocol}), **options})
    if not isinstance(small, (DistilledSet, Run, str, Path)):
        raise InputError(f"a {type(small).__name__} is judged: give a set, a run or a folder first, and the data behind it")
    known = {"nets", "split", "model", "width", "norm", "epochs", "batch", *keywords.names(Machine)}
    keywords.check(options, known, evaluate)
    if not isinstance(protocol, str):
        raise InputError(f"{stated('protocol', protocol)}: it must be one name")
    asked = keywords.asked(options)
    folder = Path(small) if isinstance(small, (str, Path)) else small.folder if isinstance(small, Run) else None
    session, whole, spec = _to_judge(small, data, options)
    dataset, seed = session.dataset, SeedOptions(seed=seed).seed
    (chosen,) = choose_protocols((protocol,), asked.epochs, asked.batch, ())
    whitened = whitening(chosen.zca, dataset.normalised_as(whole.mean, whole.std))
    held_out = dataset.test if asked.split == "test" else dataset.val
    if asked.split == "test" and folder is not None:
        count_test_use(folder)
    for note in unread(whole, [chosen]):
        session.reporter.say(note)
    nets = 3 if asked.nets is None else asked.nets
    with device.threads(keywords.threads(session)), session.reporter.bar(protocol, nets) as advance:
        teacher = labeller(whole, chosen, session, None)
        return evaluate_set(
            whole, spec, chosen, held_out, streams(seed), nets, session.compute.device, lambda *_: advance(),
            teacher=teacher, compiled=session.compute.compiled, whitened=whitened,
        )  # fmt: skip


def quality(
    small: DistilledSet | Run | str | Path,
    data: Data,
    protocol: str = "dc-cpu",
    *,
    seed: int = 0,
    **options: Any,
) -> Quality:
    """Measure a set beside real images of the training split: what it is like, and not what it is worth.

    Args:
        small: a set, a run, or the folder of either.
        data: the real images, as in `distill`.
        protocol: how the networks of its redundancy are trained on parts of it; a `-cpu` one says that short numbers do for
            the network of the features and the surrogate too.
        seed: the networks of its redundancy follow from it.
        options: `feature_network` (default: resnet10, trained on the data), `coverage_threshold`, `model`, `width`,
            `norm` (of the redundancy; as in `evaluate`), `epochs`, `batch`, and the fields of `Machine`.

    Returns:
        `frechet`, `coverage` and `redundancy` in percent, `wasserstein`, `influence` (mean energy), points of the plane.

    Raises:
        InputError: a set that does not fit the data, an unknown protocol, option or value; POT is not installed.

    Example:
        >>> import refluence as rf
        >>> data = rf.load("digits", rows=200)
        >>> small = rf.select(data, "random", ipc=1).set
        >>> rf.quality(small, data, feature_network="convnet1:4").own
        10
    """
    if not isinstance(small, (DistilledSet, Run, str, Path)):
        raise InputError(f"a {type(small).__name__} is measured: give a set, a run or a folder first, and the data behind it")
    known = {"feature_network", "coverage_threshold", "model", "width", "norm", "epochs", "batch", *keywords.names(Machine)}
    keywords.check(options, known, quality)
    asked = keywords.asked(options)
    session, whole, spec = _to_judge(small, data, options)
    (chosen,) = choose_protocols((protocol,), asked.epochs, asked.batch, ())
    size = "cpu" if chosen.short else "paper"
    network, threshold = asked.feature_network, asked.coverage_threshold
    how = measuring(JobOptions(size=size, quality=True, feature_network=network, coverage_threshold=threshold), session.dataset)
    assert how is not None, "it is asked for"
    with device.threads(keywords.threads(session)):
        return measure(how, whole, spec, chosen, streams(SeedOptions(seed=seed).seed), session, None, "quality")


def _to_judge(
    small: DistilledSet | Run | str | Path, data: Data, options: Mapping[str, Any]
) -> tuple[Session, DistilledSet, ModelSpec]:
    """The data, a set that fits them, and the network that is trained on it."""
    asked = keywords.asked(options)
    if isinstance(small, (str, Path)):
        small = open(small) if (Path(small) / CONFIG).exists() else load_distilled(Path(small))
    session = session_for(data, options, small if isinstance(small, Run) else None)
    whole, dataset = small.set if isinstance(small, Run) else small, session.dataset
    check_fits(dataset.source, dataset, whole)
    if isinstance(small, Run):
        return session, whole, another(small.job.model, options.get("model"), asked.width, asked.norm)
    return session, whole, network(asked.model, dataset.shape, len(dataset.classes), asked.width, asked.norm)


def _judged(run: StudentRun, data: Data, options: Mapping[str, Any]) -> Judged:
    """A student on a split of the data."""
    if idle := options.keys() - {"split"} - keywords.names(Machine):
        raise InputError(f"{min(idle)} is for a set, on which networks are trained: a student is judged as it is")
    split, session = keywords.asked(options).split, session_for(data, options)
    check_student(session.dataset.source, session.dataset, run.student)
    if split == "test" and run.folder is not None:
        count_use(run.folder / Student.kind)
    with device.threads(keywords.threads(session)):
        entry = judgement(run.student, session, split, run.job.what)
    scores = (entry["accuracy"], entry["balanced_accuracy"], entry["macro_f1"])
    return Judged(split, *scores, entry["worst_class"]["class"], tuple(entry["per_class"]))
