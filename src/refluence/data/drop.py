"""`--drop scores.parquet:share`: leave out the training instances with the highest score (dM/dw)."""

from __future__ import annotations

import numpy as np

from refluence.data.score_file import harmful
from refluence.data.stored import RawSplit
from refluence.errors import option


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
