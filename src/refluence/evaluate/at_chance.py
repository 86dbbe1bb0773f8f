"""Whether sampled sets teach anything: what a verdict says first where they do not.

A set is above chance where the 95 % interval of its balanced accuracy over the seeds is above 100 / C %, C the number of
classes; or where its mean is by more than a tenth of what chance leaves, as two or three seeds give wide intervals (the tenth
is ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from refluence.arm import read_arm
from refluence.errors import option
from refluence.evaluate import generated
from refluence.evaluate.paired import Row, compare
from refluence.evaluate.references import is_ceiling

MARGIN = 0.1


def at_chance(rows: Sequence[Row], classes: int) -> str:
    """A sentence where no sampled set is above chance, with what may help; "" where one is, or none is sampled.

    Args:
        rows: `arm`, `accuracy` (percent), and `balanced_accuracy` where the classes of the test split differ in size.
        classes: how many there are.

    Example:
        >>> at_chance([{"arm": "dit", "seed": 0, "accuracy": 11.0}], 10)
        'No sampled set is above chance (10 %): look at the samples; a denoiser trained longer (denoiser_iterations) may help. '
        >>> at_chance([{"arm": "dit", "seed": 0, "accuracy": 48.0}], 10)
        ''
    """
    by_set: dict[tuple[str, str | None], list[float]] = {}
    for row in rows:
        by_set.setdefault((row["arm"], row.get("protocol")), []).append(row.get("balanced_accuracy") or row["accuracy"])
    above = {generated.is_generated(read_arm(arm)): False for arm, _ in by_set if not is_ceiling(arm)}
    for (arm, _), values in by_set.items():
        if not is_ceiling(arm):
            above[generated.is_generated(read_arm(arm))] |= _above(values, 100 / classes)
    if above.get(True, True):
        return ""
    if above.get(False, True):
        remedy = f"look at the samples; a denoiser trained longer ({option('denoiser_iterations')}) may help"
        return f"No sampled set is above chance ({100 / classes:.3g} %): {remedy}. "
    return f"No set is above chance ({100 / classes:.3g} %): train the networks that judge longer ({option('epochs')}). "


def _above(values: Sequence[float], chance: float) -> bool:
    low = compare([value - chance for value in values])["low"]
    return fmean(values) - chance > MARGIN * (100 - chance) or (low is not None and low > 0)
