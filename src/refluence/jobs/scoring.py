"""Scores as jobs: from what is asked for to a job, and its table made in a file, which a stopped run continues to."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from refluence.condense.method import Method, Settings
from refluence.data import Dataset, score_csv
from refluence.data.foreign import as_handed_over, check_classes, normalised
from refluence.data.scores import FILE, ScoreTable, read_facts
from refluence.data.text import TextDataset
from refluence.errors import InputError, option
from refluence.files import Json, check_writable
from refluence.influence.weighting import Weighting
from refluence.jobs.catalogue import GIVEN, HAND_OVER, is_here
from refluence.jobs.job import BareJob, ScorePlan
from refluence.jobs.open_run import Finished, check_fits
from refluence.jobs.score_progress import ByNetwork
from refluence.jobs.session import Session, about
from refluence.models import ModelSpec
from refluence.models.choose import stored_network
from refluence.models.custom import trained_spec
from refluence.models.stored import put, read_model
from refluence.models.user_file import file_digest
from refluence.options import ScoreOptions
from refluence.run import checkpoint
from refluence.run import device as machine
from refluence.run.drive import Driver, drive
from refluence.run.folder import CONFIG, METRICS, check_same, claimed
from refluence.score.asked import WEIGHTS, read_weighting, settings_of
from refluence.score.at_set import NETS, ScoringSet, needs_of, weighting_beside
from refluence.score.job import Scoring, Trained
from refluence.seeds import streams
from refluence.version import __version__
from refluence.work import Prepared

TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".pq", ".feather", ".arrow", ".npy", ".npz", ".pt", ".html", ".xlsx")
OF_DATA = ("data", "machine")  # of what decides a result beside a job


@dataclass(frozen=True)
class Scores:
    """A job of scores, resolved: its session, with the data as the network knows them, and what it needs.

    `notes` are worth a line each before the run; `facts` stand in the table's file beside those of the work; `resolved` decides
    whether a stopped run may continue (None: it has no steps to continue from).
    """

    job: BareJob[ScorePlan]
    session: Session
    notes: tuple[str, ...]
    facts: Json
    prepared: Prepared = field(default_factory=Prepared)
    resolved: Json | None = None

    @property
    def title(self) -> str:
        """What the page is called."""
        source = self.session.dataset.source
        against = self.facts.get("distilled")
        return f"{source}: which training instances help, which harm" if against is None else f"{source} against {against}"


def against_validation(
    asked: ScoreOptions,
    session: Session,
    seed: int,
    nets: int | None = None,
    weights: str | None = None,
) -> Scores:
    """The job of scores against validation data.

    Raises:
        InputError: what cannot be scored, before any work.
    """
    dataset, settings, notes = session.dataset, settings_of(asked, nets), list[str]()
    weighting = read_weighting(weights or WEIGHTS)
    if asked.terms is None and dataset.validated_elsewhere:
        settings = replace(settings, terms="implicit")
        notes.append(f"scores are of the risk on {dataset.validation} alone ({option('terms', 'implicit')})")
    trained = None
    if asked.load is None and not isinstance(asked.model, nn.Module):
        if isinstance(dataset, TextDataset):
            raise InputError(
                f"{dataset.source} holds texts, whose scores are those of a trained network: {option('load', 'FILE')}"
            )
        model = _network(asked, dataset, {}, trains=True)
    else:
        model, trained, dataset, more = _trained(asked, dataset, seed)
        notes += more
    plan = Scoring(settings, weighting, nets or 1, trained)
    plan.check_data(dataset)
    session, job = replace(session, dataset=dataset), BareJob(seed, plan, model)
    decided = about(session)
    resolved = {**job.to_json(), "instances": _digest(dataset), **{name: decided[name] for name in OF_DATA}}
    facts = {"weights": weights or WEIGHTS, "seed": seed, "version": __version__, "resolved": resolved}
    return Scores(job, session, tuple(notes), facts, resolved=resolved)


def against_set(run: Finished, session: Session, seed: int, weights: str | None = None, nets: int | None = None) -> Scores:
    """The job of the influence on a finished run's set.

    Raises:
        InputError: a run whose method has no objective, or data that do not fit its set.
    """
    method, settings, own = objective_of(run)
    check_fits(session.dataset.source, session.dataset, run.small)
    weighting = weighting_beside(own, None if weights is None else read_weighting(weights))
    plan = ScoringSet(run.job.arm, method, settings, weighting, NETS if nets is None else nets)
    versions = {"refluence": __version__, **machine.describe()}
    facts = {"distilled": str(run.folder), "seed": seed, "versions": versions}
    return Scores(BareJob(seed, plan, run.job.model), session, (), facts, needs_of(run.small))


def objective_of(run: Finished) -> tuple[Method, Settings, Weighting]:
    """Method, settings and weights of a run's set. `InputError` for a run whose method has no objective."""
    if run.job.plan.objective is None:
        raise InputError(f"{run.folder} was made by {run.job.arm.method}, which has no objective to score against")
    if not is_here(run.job.plan.declared):
        raise InputError(f"{run.folder} was made by {GIVEN}, '{run.job.arm.method}': {HAND_OVER}, and score against that run")
    return run.job.plan.objective


def announce(scores: Scores) -> None:
    """Say what is worth a line before the work. `InputError` for a network that cannot be scored."""
    job, session = scores.job, scores.session
    for remark in job.plan.remarks(session.dataset, job.model, job.seed, session.compute):
        session.reporter.say(remark)


def make_scores(scores: Scores, folder: Path | None) -> ScoreTable:
    """The table, made from the start or the last checkpoint in `folder`."""
    job, session = scores.job, scores.session
    work = job.plan.open(session.dataset, job.model, streams(job.seed), session.compute, scores.prepared)
    work.track = session.reporter.track
    driver = Driver(session.compute.device, ByNetwork(session.reporter.quiet), work.checkpoint_seconds)
    result, _ = drive(work, folder, job.what, driver)
    table = result.artifact
    assert isinstance(table, ScoreTable), "what scores make"
    if not result.card.get("converged", True):
        far = f"a relative residual of {max(result.card['residual']):.2g}"
        session.reporter.say(f"the curvature solve stopped at {far}: a larger {option('damping')} would help")
    return replace(table, facts={**result.card, **scores.facts})


def place_of(out: str | Path) -> Path:
    """The file of the scores: `out`, or the one in the folder `out`. `InputError` for a file of another kind."""
    path = Path(out)
    if path.suffix in TABLES and not path.is_dir():
        raise InputError(f"{option('out')} {path}: the scores are written as Parquet: FILE.parquet, or a folder for {FILE}")
    return path if path.suffix == ".parquet" else path / FILE


def parts(path: Path) -> Path:
    """The folder of a table that is not finished yet."""
    return path.with_suffix(".parts")


def check_file(path: Path, resume: bool) -> None:
    """`InputError` where no table can be written, before any work."""
    if path.suffix != ".parquet" or path.is_dir():
        raise InputError(f"{option('out')} {path}: the scores are written as Parquet, so name a file that ends in .parquet")
    check_writable(path)
    score_csv.refuse_other(path)
    if path.exists() and not resume:
        raise InputError(
            f"{option('out')} {path} is there already: choose another file, or add {option('resume')} to leave it as it is"
        )


def write_scores(scores: Scores, path: Path, asked: Json, resume: bool, page: Callable[[], Path]) -> tuple[ScoreTable, bool]:
    """The table in `path`, made or continued, and then its page; or read where it is finished. And whether it was.

    Raises:
        InputError: `path` holds the scores of another job.
        RunError: numbers that are not finite.
    """
    folder = parts(path)
    if scores.resolved is not None and path.exists():
        check_same(path, read_facts(path).get("resolved", {}), scores.resolved)
        table = ScoreTable.load(path)
        if not score_csv.beside(path).exists():
            score_csv.write(table, path)
        if not path.with_suffix(".html").exists():
            page()
        _remove(folder)
        return table, True
    announce(scores)
    if scores.resolved is None:
        make_scores(scores, None).write(path)
        page()
        return ScoreTable.load(path), False
    with claimed(folder, "score", asked, scores.resolved, resume):
        make_scores(scores, folder).write(path)
        page()
    _remove(folder)
    return ScoreTable.load(path), False


def _network(asked: ScoreOptions, dataset: Dataset, facts: Json, trains: bool) -> ModelSpec:
    """The network that is asked for; what is left open is as the file of a trained one says."""
    assert not isinstance(asked.model, nn.Module), "it is trained already"
    return stored_network(facts, asked.model, asked.width, asked.norm, dataset.shape, len(dataset.classes), trains=trains)


def _trained(asked: ScoreOptions, dataset: Dataset, seed: int) -> tuple[ModelSpec, Trained, Dataset, list[str]]:
    """A network that is trained already, from a file or as it is; the data with pixels as it knows them; and notes."""
    if isinstance(asked.model, nn.Module):
        own = trained_spec(asked.model, dataset.shape, len(dataset.classes))
        dataset, said = as_handed_over(dataset, asked.pixels)
        notes = [] if said is None else [f"{own.name}: {said}"]
        return own, Trained(own.sha256, own.name, False, own.bare(torch.Generator())), dataset, notes
    assert asked.load is not None, "what else is trained already"
    stored = read_model(asked.load)
    spec = _network(asked, dataset, stored.facts, trains=False)
    check_classes(stored.path, stored.facts, dataset)
    dataset, said = normalised(stored.path, stored.facts, dataset, asked.pixels)
    net, remarks = put(stored, spec.bare(streams(seed)("network", 0)), spec.label, len(dataset.classes))
    notes = [*([f"{asked.load}: {'; '.join(remarks)}"] if remarks else []), *([said] if said else [])]
    sure = bool(stored.facts) and not asked.pixels
    return spec, Trained(file_digest(asked.load), str(asked.load), sure, net), dataset, notes


def _digest(dataset: Dataset) -> str:
    """Rows and labels of train and validation: another cut or another label gives another run."""
    found = hashlib.sha256()
    for split in (dataset.train, dataset.val):
        found.update(split.rows.numpy().tobytes() + split.labels.numpy().tobytes())
    return found.hexdigest()


def _remove(folder: Path) -> None:
    """Delete what a run wrote into the folder of its parts, and the folder where nothing else lies in it."""
    state = folder / checkpoint.NAME
    for path in (folder / CONFIG, folder / METRICS, state):
        path.unlink(missing_ok=True)
    for place in (state.parent, folder):
        with contextlib.suppress(OSError):
            place.rmdir()
