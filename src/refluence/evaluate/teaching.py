"""Whether the teacher of a comparison of students teaches: what the verdict says first where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from refluence.arm import read_arm
from refluence.evaluate import students
from refluence.evaluate.paired import Row, Summary
from refluence.evaluate.references import base


def idle_teacher(chosen: str | None, about: str | None, summary: Sequence[Summary], rows: Sequence[Row]) -> str:
    """A sentence for each sign of a teacher that teaches nothing, "" without any.

    The first: plain imitation (`kd`, what `chosen` is compared with) is below `scratch`, the student without a teacher. Where
    `chosen` is None no arm has weights, and each is named that is below but for `about`, which the verdict itself is on. The
    second: the teacher is less accurate than `scratch`.
    """
    said = []
    plain = None if chosen is None or not students.is_student(read_arm(chosen)) else base(chosen)
    for row in summary:
        difference, low, high = row["difference"], row["low"], row["high"]
        meant = row["arm"] == plain if chosen is not None else row["arm"] != about
        if not meant or not _on_scratch(row) or difference is None or low is None or high is None:
            continue
        if high < 0:
            below = f"{row['arm']} is worse than the student alone by {-difference:.1f} points [{-high:.1f}, {-low:.1f}]"
            said.append(below + ("" if chosen is None else ": this teacher teaches nothing"))
            if chosen is not None:
                break
    taught = [row["teacher_accuracy"] for row in rows if row.get("teacher_accuracy") is not None]
    alone = [row["mean"] for row in summary if read_arm(row["arm"]).method == students.SCRATCH]
    if taught and alone and fmean(taught) < max(alone):
        said.append(f"the teacher ({fmean(taught):.1f} %) is less accurate than scratch ({max(alone):.1f} %)")
    return "; ".join(said) + ". " if said else ""


def _on_scratch(row: Summary) -> bool:
    return row["against"] is not None and read_arm(row["against"]).method == students.SCRATCH
