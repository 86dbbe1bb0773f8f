"""`--drop scores.parquet:share`: leave out the training instances with the highest score (dM/dw)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refluence.data.objects import DIGEST
from refluence.data.score_file import harmful
from refluence.data.scores import FILE, read_facts
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option


def refuse_other_data(pair: str, source: str) -> None:
    """`InputError` for scores of data from Python with another digest than `source`: their rows are other images."""
    path, said = Path(pair.rpartition(":")[0]).expanduser(), option("drop", pair)
    scored = str(read_facts(path / FILE if path.is_dir() else path).get("source", ""))
    if scored != source and DIGEST.fullmatch(scored) and DIGEST.fullmatch(source):
        raise InputError(f"{said}: the scores are of {scored}, and these data are {source}: score these")


def dropped(pair: str, rows: np.ndarray, train: RawSplit) -> tuple[np.ndarray, str]:
    """Which of the training `rows (N,)` to leave out, as a mask `(N,)`, and a note. Rows without a score stay."""
    found = harmful("drop", pair, rows, train)
    note = (
        f"{option('drop')} left out {len(found.worst)} of {len(rows)} training images: the {found.share:.3g} with the highest "
        f"score in {found.path}"
    )
    if len(found.scored) < len(rows):
        note += f" ({len(rows) - len(found.scored)} have no score and stay)"
    return np.isin(rows, found.worst), note
