"""What the card says that an arm did to real instances before it began (cleaning.py), and how well it found the wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from refluence.condense.ranking import Table
from refluence.data import Dataset, clean
from refluence.data.dataset import Split
from refluence.data.scores import read_facts
from refluence.data.truth import wrong
from refluence.files import Json
from refluence.influence.weighting import Weighting
from refluence.jobs.job import Job
from refluence.jobs.session import Session
from refluence.work import Prepared


def facts(job: Job, session: Session, prepared: Prepared) -> Json:
    """What the card says of it; nothing for an arm that leaves instances as they are.

    `rows` of `of` were left out, given the suggested class, or weighed; for `changed` of them it is another one than they had.
    `auc`: how well what it goes by finds the rows that are known to be wrong. `decided`: whose images the scores are of.
    """
    plan, tensors, train = job.plan, prepared.tensors, session.dataset.train
    if not plan.weighting.cleans:
        return _chosen(job, session, prepared) if plan.by_scores else {}
    weighting, known = plan.weighting, wrong(train)
    acted = {"pruned": len(train) - len(tensors.get(clean.ROWS, train)), "relabelled": len(tensors.get(clean.LABELS, ()))}
    acted["selected"] = acted["pruned"]
    share = None if weighting.kind == "scores" else _share(weighting, tensors)
    auc = None if weighting.by == "truth" else found_by(-weighting.sign * tensors["scores"], known)
    by_validation = weighting.by == "score" or (weighting.kind == "scores" and weighting.by == "random")
    found = {
        "kind": weighting.kind,
        "by": weighting.by,
        "terms": weighting.terms if weighting.by == "score" else None,
        "share": share,
        "rows": acted.get(weighting.kind, len(train)),
        "changed": _changed(train, tensors) if weighting.kind == "relabelled" else None,
        "of": len(train),
        "auc": auc,
        "decided": decided_by(plan.table, session.dataset) if by_validation else None,
        "table": None if plan.table is None else plan.table.file,
        "seconds": round(prepared.seconds, 3),
    }
    return {"cleaned": found}


def _chosen(job: Job, session: Session, prepared: Prepared) -> Json:
    """The same of a selection that goes by the scores itself."""
    dataset, table = session.dataset, job.plan.table
    auc = found_by(prepared.tensors[clean.TABLE_SCORES], wrong(dataset.train))
    own = {"kind": "chosen", "by": "score", "terms": "auto", "share": None, "rows": sum(job.counts(dataset)), "auc": auc}
    later = {"of": len(dataset.train), "decided": decided_by(table, dataset), "table": None if table is None else table.file}
    return {"cleaned": {**own, **later, "seconds": round(prepared.seconds, 3)}}


def decided_by(table: Table | None, dataset: Dataset) -> str | None:
    """Whose validation images the scores are of; a table in a file states it itself, but one of an earlier version (None)."""
    if table is None or table.file is None:
        return dataset.validation
    return read_facts(Path(table.file)).get("validation", {}).get("source")


def found_by(badness: Tensor, known: Tensor | None) -> float | None:
    """How often one of the `known (N,)` to be wrong has the higher `badness (N,)` of two (AUC); None where all or none are."""
    from sklearn.metrics import roc_auc_score

    if known is None or not bool(known.any()) or bool(known.all()):
        return None
    return float(roc_auc_score(known.numpy(), badness.numpy()))


def _changed(train: Split, tensors: Mapping[str, Tensor]) -> int:
    """How many rows got another label than they had: a suggestion may be the same."""
    after = clean.relabelled(train, tensors[clean.LABELLED], tensors[clean.LABELS])
    return int((after.labels != train.labels).sum())


def _share(weighting: Weighting, tensors: Mapping[str, Tensor]) -> float:
    """The share of each class that is left out or relabelled."""
    if weighting.share_is_open:
        return float(tensors["share"])
    return 1 - float(weighting.keep) if weighting.prunes else float(weighting.share)
