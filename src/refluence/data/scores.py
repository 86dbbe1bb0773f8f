"""A table of scores: one row a training instance that was scored, as scores.parquet keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from refluence.data import score_csv, score_html
from refluence.data.dataset import Dataset
from refluence.data.keyed import placed, places, positions
from refluence.errors import InputError, stated
from refluence.files import Json, replacing, spelled

FACTS = b"refluence"  # key of the schema's metadata
FILE = "scores.parquet"
NUMBERS = ("index", "label", "score", "weight", "loss")  # columns that every table has
FURTHER = ("visits", "suggested", "stored", "shifted")  # where there are any


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of training instances, all `(n,)`. The higher, the more weight on an instance raises the objective.

    Where the objective is the risk on validation data (`score`), that is harm. Where it is how far a set is from the real
    data (`run.scores`, `score` of a set), more weight on the highest raises that distance most and on the lowest raises it
    least, or lowers it: neither end says that an instance harms a classifier, and wrong labels may stand at either.

    Args:
        index: row of the *stored* train split.
        label: its class.
        score: dM/dw.
        weight: what the score makes of it.
        loss: NaN where none was kept.
        fold: the fold that held it out, -1 where nothing was held out.
        suggested: the class that the network would rather give.
        visits: how often it was scored.
        stored: the label of the source, where `labels` or `noise` put another in its place, -1 for a class that is not here.
        shifted: whether `shift` brought its image from another domain, where that was asked for.
        paths: of files, where the source has any.
        classes: their names.
        facts: JSON values, everything that decided the numbers.

    Example:
        >>> import torch
        >>> import refluence as rf
        >>> rows, ones = torch.arange(3), torch.ones(3)
        >>> table = rf.ScoreTable(index=rows, label=rows, score=torch.tensor([0.1, 0.3, 0.2]), weight=ones, loss=ones)
        >>> table.most_harmful(2).index.tolist()
        [1, 2]
    """

    kind: ClassVar[str] = "scores"
    files: ClassVar[tuple[str, ...]] = (FILE,)

    index: Tensor
    label: Tensor
    score: Tensor
    weight: Tensor
    loss: Tensor
    fold: Tensor | None = None
    visits: Tensor | None = None
    suggested: Tensor | None = None
    stored: Tensor | None = None
    shifted: Tensor | None = None
    paths: tuple[str, ...] | None = None
    classes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        score: Tensor,
        weight: Tensor,
        loss: Tensor,
        *,
        fold: Tensor | None = None,
        visits: Tensor | None = None,
        suggested: Tensor | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> ScoreTable:
        """The table of tensors `(N,)` over `dataset.train`. Instances without a visit are left out."""
        split = dataset.train
        seen = torch.arange(len(split)) if visits is None else visits.nonzero().flatten()

        def at(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[seen]

        return cls(
            index=split.rows[seen],
            label=split.labels[seen],
            score=score[seen].double(),
            weight=weight[seen].double(),
            loss=loss[seen].double(),
            fold=at(fold),
            visits=at(visits),
            suggested=at(suggested),
            stored=at(split.stored),
            shifted=at(split.shifted),
            paths=None if split.paths is None else tuple(split.paths[i] for i in seen.tolist()),
            classes=dataset.classes,
            facts=facts or {},
        )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def wrong_share(self) -> float | None:
        """The estimated share of labels that are wrong, from the probabilities of the networks that held a row out.

        By confident learning, or, where that counts a weak network's mistakes as wrong labels, by the rows that it is surest
        of: nearer the truth, and still some points off where the network is weak.

        None where networks held nothing out (a network that was trained before, scores against a distilled set), where labels
        are soft, and where rows x classes x networks a fold are more than 33 million.
        How near the truth it is: docs/results/clean.md.

        Example:
            >>> import refluence as rf
            >>> share = rf.score(rf.load("digits", noise="symmetric:0.4"), folds=2, epochs=4, terms="explicit").wrong_share
            >>> 0.3 < share < 0.5
            True
        """
        return self.facts.get("wrong_share")

    @property
    def stored_bytes(self) -> int:
        """Bytes of its columns, before Parquet packs them."""
        return sum(value.nbytes for value in self.arrays().values() if value.dtype != object)

    def write(self, path: Path) -> None:
        """Write one Parquet file: `index`, `path`, `label`, `score`, `weight`, `loss`, `fold`, then what there is.

        Beside it a CSV file of the same name, with classes by name and the most harmful instance first.

        Raises:
            InputError: a file of that name is there which holds something else.
        """
        score_csv.refuse_other(path)
        paths = [None] * len(self) if self.paths is None else self.paths
        columns = {
            "index": self.index.numpy(),
            "path": pa.array(paths, pa.string()),
            **{name: getattr(self, name).numpy() for name in ("label", "score", "weight", "loss")},
            "fold": pa.nulls(len(self), pa.int64()) if self.fold is None else self.fold.numpy(),
        }
        columns |= {name: t.numpy() for name in FURTHER if (t := getattr(self, name)) is not None}
        table = pa.table(columns)
        if self.facts:
            table = table.replace_schema_metadata({FACTS: json.dumps(spelled(dict(self.facts)), allow_nan=False)})
        with replacing(path) as temporary:
            pq.write_table(table, temporary)
        score_csv.write(self, path)

    def save(self, folder: str | Path, card: Mapping[str, Any] | None = None) -> None:
        """Write `folder/scores.parquet`, or the file where a name ends in `.parquet`, and a `.csv` beside it.

        The card stands in the metadata beside the facts.
        """
        path = Path(folder) if Path(folder).suffix == ".parquet" else Path(folder) / FILE
        replace(self, facts={**self.facts, **(card or {})}).write(path)

    @classmethod
    def load(cls, path: str | Path, classes: tuple[str, ...] = ()) -> ScoreTable:
        """Read a table again.

        Args:
            path: the Parquet file, or the folder of a run that has one.
            classes: their names, where the file does not say them.

        Raises:
            InputError: no such file, or one that is no table of scores.

        Example:
            >>> import tempfile
            >>> import refluence as rf
            >>> run = rf.distill("digits", "dm+influence", ipc=1, iterations=1, width=4)
            >>> folder = tempfile.mkdtemp()
            >>> run.scores.save(folder)
            >>> len(ScoreTable.load(folder)) == len(run.scores)
            True
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"{path} does not exist: give a file of scores, or a folder with {FILE}")
        path = path / FILE if path.is_dir() else path
        facts = read_facts(path)
        try:
            table = pq.read_table(path)
            tensors = {name: torch.tensor(table.column(name).to_numpy()) for name in NUMBERS}
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} cannot be read as scores ({error})") from None
        for name in ("fold", *FURTHER):
            if name in table.column_names and not table.column(name).null_count:
                tensors[name] = torch.tensor(table.column(name).to_numpy())
        paths = tuple(table.column("path").to_pylist()) if "path" in table.column_names else ()
        known = paths if paths and None not in paths else None
        return cls(**tensors, paths=known, classes=tuple(facts.get("classes", classes)), facts=facts)

    def most_harmful(self, n: int = 20) -> ScoreTable:
        """The `n` rows with the highest scores, the highest first; equal ones go by row of the split.

        Of scores against a distilled set, weight on these raises its distance from the real data most, harmful or not.
        """
        return self._at(np.lexsort((self.index.numpy(), -self.score.numpy()))[: _rows(n)])

    def most_helpful(self, n: int = 20) -> ScoreTable:
        """The `n` rows with the lowest scores, the lowest first; of scores against a distilled set, helpful or not."""
        return self._at(np.lexsort((self.index.numpy(), self.score.numpy()))[: _rows(n)])

    def weights(self, dataset: Dataset) -> Tensor:
        """The column `weight` for a training loop of one's own: loss per row times weight, and then the mean.

        Args:
            dataset: what is trained on: the one that was scored, or fewer of its training rows.

        Returns:
            `(N,)` float32, one for each row of `dataset.train`, in its order, keyed by `dataset.train.rows`.

        Raises:
            InputError: a table of another source, or one without some of the rows.

        Example:
            >>> import refluence as rf
            >>> data = rf.load("digits")
            >>> w = rf.score(data, folds=2, epochs=1, width=4, terms="explicit").weights(data)
            >>> len(w) == len(data.train)
            True
        """
        return self.weight[self.positions(dataset)].float()

    def positions(self, dataset: Dataset) -> Tensor:
        """The place in the table of each row of `dataset.train`, `(N,)`; `InputError` as for `weights`."""
        source = self.facts.get("source", dataset.source)
        label = self.by_classes("label", self.label, dataset)
        return positions(source, self.index, label, self.paths, dataset)

    def by_classes(self, name: str, values: Tensor, dataset: Dataset) -> Tensor:
        """Its column `name` of classes as indices into those of `dataset`, matched by name; -1 for one that is not there."""
        return placed(name, values, self.index, places(self.classes or dataset.classes, dataset.classes))

    def arrays(self) -> dict[str, np.ndarray]:
        """The columns that there are as arrays by name, for a data frame."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        columns = {name: value.numpy() for name, value in found.items() if isinstance(value, Tensor)}
        return columns if self.paths is None else {**columns, "path": np.array(self.paths, object)}

    def _at(self, order: np.ndarray) -> ScoreTable:
        at = torch.from_numpy(order)
        cut: Json = {f.name: value[at] for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        return replace(self, **cut, paths=None if self.paths is None else tuple(self.paths[i] for i in order.tolist()))

    def __repr__(self) -> str:
        what = f"ScoreTable({len(self)} instances"
        if not len(self):
            return f"{what})"
        return f"{what}, scores {float(self.score.min()):.3g} to {float(self.score.max()):.3g})"

    def _repr_html_(self) -> str:
        return score_html.shown(self)


def _rows(n: int) -> int:
    if not isinstance(n, Integral) or isinstance(n, bool) or n < 0:
        raise InputError(f"{stated('n', n)}: it must be a whole number of rows, at least 0")
    return int(n)


def read_facts(path: Path) -> Json:
    """What a table's file says of its run; `{}` where it says nothing."""
    try:
        return json.loads((pq.read_schema(path).metadata or {}).get(FACTS, b"{}"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as scores ({error})") from None
