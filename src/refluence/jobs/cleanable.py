"""Whether data and table have what an arm that acts on instances beforehand goes by: asked before any work."""

from __future__ import annotations

from collections.abc import Sequence

from refluence.data import Dataset
from refluence.data.truth import wrong
from refluence.errors import InputError, NoRoomError, option
from refluence.influence.weighting import Weighting
from refluence.jobs.job import ArmJob, Job
from refluence.jobs.scores_need import Columns, ScoresNeed, given
from refluence.score.folds_work import keeps


def check(job: Job, dataset: Dataset) -> None:
    """`InputError`, before any work, for data or a table in a file that do not have what the job goes by."""
    plan, arm = job.plan, f"arm '{job.arm.name}'"
    weighting, table = plan.weighting, plan.table
    if weighting.cleans and weighting.by == "truth":
        relabels = weighting.kind == "relabelled"
        known = dataset.train.stored if relabels else wrong(dataset.train)
        if known is None:
            raise InputError(f"{arm}: {no_truth(dataset, relabels)}")
    if weighting.kind == "relabelled" and dataset.train.soft is not None:
        raise InputError(f"{arm}: the source has soft labels, which would stay as they are")
    if table is None:
        return
    if table.file is None:
        _check_folds(dataset, ScoresNeed(job.model, job.seed).plan.settings.folds, arm)
        if weighting.share_is_open and not keeps(dataset, 1):
            name = "keep" if weighting.prunes else "share"
            raise InputError(f"{arm}: {name}=auto: how many labels look wrong cannot be told of these data: give {name}=P")
        return
    columns, said = given(table, dataset, option("scores", table.file)), option("scores", table.file)
    if job.arm.option("terms") is not None:
        raise InputError(f"{arm}: terms={weighting.terms}: {said} holds one score an instance: leave terms out")
    if weighting.share_is_open:
        estimated(columns, weighting, arm, said)
        if dataset.options.drop is not None and columns.others:
            name, dropped = "keep" if weighting.prunes else "share", option("drop", dataset.options.drop)
            raise InputError(
                f"{arm}: {name}=auto: {dropped} has left images out that {said} counts in its share of labels that look wrong: "
                f"give {name}=P"
            )
    if weighting.kind != "relabelled":
        return
    if columns.suggested is None:
        raise InputError(f"{arm}: {said} suggests no classes; `refluence score` against validation data does")
    if absent := int((columns.suggested < 0).sum()):
        raise InputError(
            f"{arm}: {said} suggests a class that is not here for {absent} images: score the data as they are here"
        )


def _check_folds(dataset: Dataset, folds: int, arm: str) -> None:
    """`NoRoomError` where a class is not in every fold of the table that the arm would make."""
    counts = [len(dataset.train.members(label)) for label in range(len(dataset.classes))]
    if (least := min(counts)) >= folds:
        return
    name, without = dataset.classes[counts.index(least)], "the data without that class would do"
    fewer = f"{option('scores', 'FILE')} of `refluence score` in {least} folds, or {without}"
    raise NoRoomError(
        f"{arm}: its table of scores is made in {folds} folds, so class '{name}' needs at least {folds} training images and "
        f"has {least}: {fewer if least > 1 else without}"
    )


def refuse_unread(scores: str | None, jobs: Sequence[ArmJob]) -> None:
    """`InputError` for a table of scores that no job goes by: nothing would be cleaned."""
    if scores is not None and not any(isinstance(job, Job) and job.plan.table is not None for job in jobs):
        raise InputError(
            f"{option('scores', scores)}: no arm here goes by it: X+pruned:by=score, X+relabelled and X+scores do, and "
            f"{option('drop', f'{scores}:0.1')} leaves images out for every arm"
        )


def estimated(table: Columns, weighting: Weighting, arm: str, said: str) -> float:
    """The share of labels that look wrong; `InputError` where the table does not know it."""
    if table.wrong_share is None:
        name = "keep" if weighting.prunes else "share"
        raise InputError(f"{arm}: {name}=auto: {said} does not say how many labels look wrong: give {name}=P")
    return table.wrong_share


def no_truth(dataset: Dataset, relabels: bool) -> str:
    """Why `by=truth` cannot be, and what would make it; right labels follow from less than right instances do."""
    names = ("labels", "noise") if relabels else ("labels", "noise", "shift")
    known, what = " or ".join(option(name) for name in names), "labels" if relabels else "instances"
    return f"by=truth: nothing is known of which training {what} of {dataset.source} are right; {known} would say it"
