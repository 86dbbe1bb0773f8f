"""A table of scores as an option of the source, `scores.parquet:SHARE`: which training instances are the most harmful.

What is wrong with the table is one line that names the option; what is done to the instances is in drop.py and relabel.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from refluence.data import columns, parquet
from refluence.data.options import share_of, split_pair
from refluence.data.scored_as import refuse_other_reading, same_source
from refluence.data.scores import FILE, read_facts
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option
from refluence.options import SourceOptions


@dataclass(frozen=True)
class Harmful:
    """The share of the scored training rows that has the highest scores.

    `said` is the option with its value, `worst (M,)` are the stored rows, the most harmful first, `scored (S,)` all rows of
    train that have a score.
    """

    said: str
    path: Path
    share: float
    worst: np.ndarray
    scored: np.ndarray


def harmful(name: str, pair: str, rows: np.ndarray, train: RawSplit) -> Harmful:
    """Read `FILE:SHARE`, the value of the option `name`, for the training `rows (N,)`.

    The file has the columns `index` (row of the stored split `train`) and `score` (dM/dw: positive raises the objective).
    Of the rows that are in train and have a score, the round(share n) highest are taken; ties go by row. Where the file
    has a column `path`, it must name the images that the source has there: a new image shifts the rows behind it.
    """
    said, stored = option(name, pair), len(train)
    file, text = split_pair(pair, name, "scores.parquet:share, for example scores.parquet:0.05")
    share = share_of(text)
    if not 0 <= share < 1:
        raise InputError(f"{said}: the share '{text}' must be a number from 0 to below 1, such as 0.05")
    path = Path(file).expanduser()
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{said}: there is no file {path}")
    refuse_csv(path, said)
    features = columns.features(parquet.schema(path))
    for column in ("index", "score"):
        columns.require(features, column, name, str(path), said)
    try:
        numbers, score = (np.array(parquet.column([path], column), np.float64) for column in ("index", "score"))
    except (TypeError, ValueError):
        numbers = score = np.array(np.nan)
    if not numbers.ndim == score.ndim == 1 or not (numbers == np.rint(numbers)).all() or np.isinf(numbers).any():
        raise InputError(f"{said}: index must hold whole numbers and score numbers, none missing")
    index = numbers.clip(-1, stored).astype(np.int64)
    if np.isnan(score).any():
        rows_without = index[np.isnan(score)]
        raise InputError(f"{said}: {len(rows_without)} scores are not numbers (first: index {rows_without[0]})")
    if len(index) and not (index.min() >= 0 and index.max() < stored):
        raise InputError(
            f"{said}: index runs from {numbers.min():.0f} to {numbers.max():.0f}, but the stored train split has rows "
            f"0 … {stored - 1}; were the scores made from this source?"
        )
    if len(np.unique(index)) != len(index):
        raise InputError(f"{said}: some rows have more than one score; expected one line a row")
    if "path" in features and train.paths is not None:
        for row, image in zip(index.tolist(), parquet.column([path], "path"), strict=True):
            if image and image != train.paths[row]:
                raise InputError(
                    f"{said}: row {row} is '{image}' there and '{train.paths[row]}' in {train.where}: images were added or "
                    "removed since; score the source again"
                )
    here = np.isin(index, rows)
    index, score = index[here], score[here]
    worst = index[np.lexsort((index, -score))[: round(share * len(index))]]
    return Harmful(said, path, share, worst, index)


def refuse_other_data(source: str, options: SourceOptions) -> None:
    """`InputError` for a table of `drop` or `relabel` whose scores are of other data than `source`, read by `options`.

    Their rows are other images, or have other labels. A table that does not say so, as one made by hand, may be used.
    """
    for name, pair in (("drop", options.drop), ("relabel", options.relabel)):
        if pair is None:
            continue
        path, said = Path(pair.rpartition(":")[0]).expanduser(), option(name, pair)
        facts = read_facts(path / FILE if path.is_dir() else path)
        scored = facts.get("source")
        if scored is not None and not same_source(str(scored), source):
            raise InputError(f"{said}: the scores are of {scored}, and these data are {source}: score these")
        refuse_other_reading(facts, options, said)


def refuse_csv(path: Path, said: str) -> None:
    """`InputError` for the list that is written beside a table of scores to be read by people."""
    if path.suffix == ".csv":
        raise InputError(f"{said}: the list is for reading; give the table beside it, {path.with_suffix('.parquet').name}")


def whole_numbers(found: Harmful, name: str) -> dict[int, int]:
    """A column of whole numbers in the same file, by row. `InputError` where it has none, or other values."""
    kind = parquet.schema(found.path).field(name).type
    values = parquet.column([found.path], name)
    if not pa.types.is_integer(kind) or None in values:
        raise InputError(f"{found.said}: {name} must hold whole numbers, none missing")
    return dict(zip(map(int, parquet.column([found.path], "index")), values, strict=True))
