"""A finished run, comparison or table of scores made again from what it recorded, and whether it came out the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import cast

from refluence.data import Dataset, SourceOptions
from refluence.data.scores import ScoreTable, read_facts
from refluence.errors import InputError, option
from refluence.files import Json, read_json
from refluence.generate.denoiser import Denoiser
from refluence.generate.denoiser_folder import CARD
from refluence.jobs import denoiser_runs, equal_seconds, pool_seconds, single
from refluence.jobs.comparing import Comparing
from refluence.jobs.comparison import compare
from refluence.jobs.job import SAMPLE, BareJob, ScorePlan, read_arm_job, read_job
from refluence.jobs.open_run import DENOISERS, require_finished
from refluence.jobs.record import options_from, transfer_from
from refluence.jobs.run_job import KINDS
from refluence.jobs.scoring import Scores, write_scores
from refluence.jobs.session import Machine, Session, open_session
from refluence.run import device
from refluence.run.folder import CONFIG, configuration
from refluence.transfer.artifact import Student

Page = Callable[[Path], object]


@dataclass(frozen=True)
class Repeated:
    """What was made again: `names` of the artifacts, and of those that came out otherwise; `already`: it lay there before."""

    what: str
    names: tuple[str, ...]
    differing: tuple[str, ...]
    already: bool = False


def repeat_run(folder: Path, out: Path, *, resume: bool = False, page: Page | None = None) -> Repeated:
    """Make a finished run or comparison again in `out`, and compare the files of each job's artifact byte by byte.

    Args:
        folder: a run, a comparison, a part of a recipe, or a unit of either.
        out: a new folder.
        resume: whether a repetition that was stopped is continued.
        page: writes the page of `out`; None: it has none.

    Raises:
        InputError: a folder that holds no finished run, or one of what only lives in Python: data, a method, a network.
    """
    config = configuration(folder)
    if config["command"] == "run":
        raise InputError(f"{folder} holds a recipe: repeat one of its parts, {folder}/PART")
    if config["command"] not in ("distill", SAMPLE, "transfer", "compare", *DENOISERS):
        raise InputError(f"{folder} was made by '{config['command']}', which cannot be repeated")
    require_finished(folder, config)
    if out.absolute() == folder.absolute():
        raise InputError(f"{option('out')} {out} is the run itself: choose a new folder")
    arguments, resolved = config["arguments"], config["resolved"]
    _refuse_python(folder, resolved)
    session = _session(resolved, arguments, _per_class(config))
    with device.threads(session.machine.threads):
        if config["command"] in ("distill", SAMPLE, "transfer"):
            job = read_arm_job(resolved["unit"])
            job.model.verify()
            asked = transfer_from(arguments) if config["command"] == "transfer" else options_from(arguments)
            _, already = single.make(job, asked, session, out, resume=resume, page=page)
        elif config["command"] in DENOISERS:
            _, _, already = denoiser_runs.make(denoiser_runs.again(config, session), session, out, resume=resume, page=page)
        else:
            arms = [read_arm_job(stored) for stored in resolved["arms"].values()]
            arms[0].model.verify()
            jobs = [replace(job, seed=seed) for seed in resolved["seeds"] for job in arms]
            decided, pools = (_measured(folder / name) for name in (equal_seconds.FILE, pool_seconds.FILE))
            comparing = Comparing.from_arguments(arguments)
            already = compare(comparing, jobs, session, out, resume=resume, page=page, decided=decided, pools=pools).already
    before, after = artifacts(folder), artifacts(out)
    differing = tuple(name for name in before if before[name] != after.get(name))
    return Repeated(_called(folder), tuple(before), differing, already)


def _per_class(config: Json) -> int:
    """Training images that a class must have: as many as are kept of it, of real ones alone."""
    resolved = config["resolved"]
    stored = resolved["arms"].values() if "arms" in resolved else [resolved["unit"]] if "unit" in resolved else []
    jobs = [read_arm_job(each) for each in stored]
    return max((job.per_class for job in jobs), default=1)


def _measured(path: Path) -> Json | None:
    """What decided how much an arm does, where that was measured."""
    return read_json(path) if path.exists() else None


def _called(folder: Path) -> str:
    """What was made again, as people call it."""
    if (folder / Denoiser.kind).exists():
        return Denoiser.kind
    students = any(folder.glob(f"{Student.kind}/*")) or any(folder.glob(f"units/*/*/{Student.kind}"))
    return Student.kind if students else "distilled set"


def repeat_scores(path: Path, out: Path, *, resume: bool = False, page: Callable[[Path, Dataset, str], Path]) -> Repeated:
    """Make a table of scores against validation data again in `out`, and compare its columns.

    Raises:
        InputError: a table that does not say how it was made, or one of a network that was trained before.
    """
    facts = read_facts(path)
    if (resolved := facts.get("resolved")) is None:
        raise InputError(f"{path} does not say how it was made: `score --distilled` makes scores against a set again")
    if out.absolute() == path.absolute():
        raise InputError(f"{option('out')} {out} is the table itself: choose a new file")
    if out.exists() and not resume:
        raise InputError(f"{option('out')} {out} is there already: choose another file, or add {option('resume')}")
    _refuse_python(path, resolved)
    session, job = _session(resolved, {}, 1), cast(BareJob[ScorePlan], read_job(resolved))
    own = {name: facts[name] for name in ("weights", "seed", "version", "resolved")}
    scores = Scores(job, session, (), own, resolved=resolved)
    with device.threads(session.machine.threads):
        _, already = write_scores(scores, out, {}, resume, lambda: page(out, session.dataset, scores.title))
    again = _columns(out)  # which may have a column that earlier versions did not write
    same = all(again.get(name) == column for name, column in _columns(path).items())
    return Repeated("table of scores", (path.name,), () if same else (path.name,), already)


def artifacts(folder: Path) -> dict[str, str]:
    """A digest of the artifact of each job in a folder, by the place of the job: of the files that the artifact names."""
    if (folder / Denoiser.kind / CARD).exists():
        files = [folder / Denoiser.kind / name for name in Denoiser.files]
        return {".": _digest([path for path in files if path.exists()])}
    places = [folder] if any((folder / kind).exists() for kind in KINDS) else []
    places += [place for place in sorted(folder.glob("units/*/*")) if (place / CONFIG).exists()]
    found = {}
    for place in places:
        kind = read_arm_job(configuration(place)["resolved"]["unit"]).plan.artifact
        files = [place / kind.kind / name for name in kind.files]
        if all(path.exists() for path in files):
            found[str(place.relative_to(folder))] = _digest(files)
    return found


def _digest(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def _session(resolved: Json, arguments: Json, per_class: int) -> Session:
    """The data and the machine of a run, as it recorded them."""
    data, machine = resolved["data"], resolved["machine"]
    stored = {f.name: data["options"][f.name] for f in fields(SourceOptions) if f.name in data["options"]}
    recorded = {**machine, **arguments, "threads": machine["threads"]}
    how = Machine.from_arguments(recorded, progress=not arguments.get("quiet", False))
    return open_session(data["source"], how, SourceOptions(**stored), per_class=per_class)


def _refuse_python(place: Path, resolved: Json) -> None:
    """`InputError` for data that were changed, and a validation set or a method that was given, in Python."""
    data = resolved["data"]
    if "content" in data:
        raise InputError(f"{place} was made from data that were changed in Python after they were loaded: repeat it there")
    if "validation" in data:
        raise InputError(f"{place} has a validation set that was given in Python, {data['validation']}: repeat it there")
    if any("declared" in each for each in (resolved, *resolved.get("arms", {}).values())):
        raise InputError(f"{place} was made by a method that was given in Python: repeat it there")
    stored = [resolved, resolved.get("unit", {}), *resolved.get("arms", {}).values()]
    if any((each.get("denoiser") or {}).get("where", "").endswith("()") for each in stored):
        raise InputError(f"{place} was made from a denoiser that was given in Python: repeat it there")


def _columns(path: Path) -> dict[str, bytes]:
    return {name: column.tobytes() for name, column in ScoreTable.load(path).arrays().items() if name != "path"}
