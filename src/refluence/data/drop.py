"""`--drop scores.parquet:share`: leave out the training instances with the highest score (dM/dw)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refluence.data import columns, parquet
from refluence.data.options import split_pair
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option


def harmful(pair: str, rows: np.ndarray, train: RawSplit) -> tuple[np.ndarray, str]:
    """Which of the training `rows (N,)` to leave out, as a mask `(N,)`, and a note.

    The file has the columns `index` (row of the stored split `train`) and `score` (dM/dw: positive raises the objective).
    Of the rows that are in train and have a score, the round(share n) highest are left out; ties go by row. Where the file
    has a column `path`, it must name the images that the source has there: a new image shifts the rows behind it.
    """
    stored = len(train)
    file, text = split_pair(pair, "drop", "scores.parquet:share, for example scores.parquet:0.05")
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 < share < 1:
        raise InputError(f"{option('drop', pair)}: the share '{text}' must be a number between 0 and 1, such as 0.05")
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"{option('drop', pair)}: there is no file {path}")
    features = columns.features(parquet.schema(path))
    for name in ("index", "score"):
        columns.require(features, name, "drop", str(path), option("drop", pair))
    try:
        numbers, score = (np.array(parquet.column([path], name), np.float64) for name in ("index", "score"))
    except (TypeError, ValueError):
        numbers = score = np.array(np.nan)
    if not numbers.ndim == score.ndim == 1 or not (numbers == np.rint(numbers)).all() or np.isinf(numbers).any():
        raise InputError(f"{option('drop', pair)}: index must hold whole numbers and score numbers, none missing")
    index = numbers.clip(-1, stored).astype(np.int64)
    if np.isnan(score).any():
        rows_without = index[np.isnan(score)]
        raise InputError(f"{option('drop', pair)}: {len(rows_without)} scores are not numbers (first: index {rows_without[0]})")
    if len(index) and not (index.min() >= 0 and index.max() < stored):
        raise InputError(
            f"{option('drop', pair)}: index runs from {numbers.min():.0f} to {numbers.max():.0f}, but the stored "
            "train split has rows "
            f"0 … {stored - 1}; were the scores made from this source?"
        )
    if len(np.unique(index)) != len(index):
        raise InputError(f"{option('drop', pair)}: some rows have more than one score; expected one line a row")
    if "path" in features and train.paths is not None:
        for row, name in zip(index.tolist(), parquet.column([path], "path"), strict=True):
            if name and name != train.paths[row]:
                raise InputError(
                    f"{option('drop', pair)}: row {row} is '{name}' there and '{train.paths[row]}' in {train.where}: "
                    "images were "
                    "added or removed since; score the source again"
                )
    here = np.isin(index, rows)
    index, score = index[here], score[here]
    count = round(share * len(index))
    worst = index[np.lexsort((index, -score))[:count]]
    note = f"{option('drop')} left out {count} of {len(rows)} training images: the {share:.3g} with the highest score in {path}"
    if len(index) < len(rows):
        note += f" ({len(rows) - len(index)} have no score and stay)"
    return np.isin(rows, worst), note
