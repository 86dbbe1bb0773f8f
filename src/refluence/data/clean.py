"""A training split after what is known of its instances: fewer rows, other labels, or a weight for each.

    kept_c     = the k_c = keep * n_c (rounded, at least 1) instances of class c with the largest sign * score
    changed_c  = the other ones of share 1 - keep: they get another label
    omega_j    = the weight of instance j, taken to mean 1 in its bag by who uses it

Everything is keyed by the row of the stored split, so that it holds for any part of it in any order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from refluence.data.dataset import Dataset, Split
from refluence.errors import NoRoomError, RunError, option

ROWS, LABELLED, LABELS, WEIGHTED, WEIGHTS = "rows", "relabelled_rows", "labels", "weighted_rows", "weights"
TABLE_SCORES = "table_scores"  # (N,) of every instance, for what selects by them


def kept_count(members: int, keep: float) -> int:
    """How many of a class's `members` stay."""
    return max(1, math.floor(keep * members + 0.5))


def kept(scores: Tensor, dataset: Dataset, keep: float, sign: int = 1) -> Tensor:
    """Positions in `dataset.train`, ascending, of the largest sign * `scores` `(N,)` of each class; ties go by position."""
    if scores.isnan().any():
        raise RunError(f"{int(scores.isnan().sum())} of {len(scores)} scores to prune by are not numbers")
    chosen = []
    for label in range(len(dataset.classes)):
        members = dataset.train.members(label)
        order = (sign * scores[members]).argsort(descending=True, stable=True)
        chosen.append(members[order[: kept_count(len(members), keep)]])
    return torch.cat(chosen).sort().values


def others(positions: Tensor, count: int) -> Tensor:
    """The positions of `count` that are not among `positions`, ascending."""
    left_out = torch.ones(count, dtype=torch.bool)
    left_out[positions] = False
    return left_out.nonzero().flatten()


def restrict(dataset: Dataset, positions: Tensor) -> Dataset:
    """The same dataset with only these training instances: rows, validation, test, mean and std stay as they are.

    Their images are copied into memory, unless all are kept.
    """
    train = dataset.train
    if len(positions) == len(train):
        return dataset
    return replace(dataset, train=train.take(positions))


def check_share(dataset: Dataset, counts: tuple[int, ...], keep: float, each: int = 1) -> None:
    """`NoRoomError` where a class would keep too few real images. `each`: how many of them a stored image takes."""
    members = [len(dataset.train.members(label)) for label in range(len(counts))]
    short = [label for label, count in enumerate(counts) if kept_count(members[label], keep) < each * count]
    if not short:
        return
    label = min(short, key=lambda c: members[c] / counts[c])
    left, share = kept_count(members[label], keep), math.ceil(100 * each * counts[label] / members[label]) / 100
    raise NoRoomError(
        f"keep={keep:g} leaves {left} of the {members[label]} training images of class '{dataset.classes[label]}', fewer "
        f"than {_wanted(counts[label], each, f'keep={share:g}')}"
    )


def check_room(dataset: Dataset, counts: tuple[int, ...], what: str, remedy: str | None, each: int = 1) -> None:
    """`RunError` where `what` has left a class of `dataset` too few real images, which is known only once it is done.

    `remedy`: what the arm might say instead, if anything.
    """
    for label, count in enumerate(counts):
        if (left := len(dataset.train.members(label))) < each * count:
            name = dataset.classes[label]
            raise RunError(
                f"{what}: {left} training images are left of class '{name}', fewer than {_wanted(count, each, remedy)}"
            )


def _wanted(count: int, each: int, remedy: str | None) -> str:
    """The images that a class needs, in words, and what would need fewer or leave more."""
    ones = "one" if count == 1 else "ones"
    need = f"its {count} distilled {ones}"
    if each > 1:
        need = f"the {each * count} that factor={math.isqrt(each)} lays into {count} stored {ones}"
    smaller = [f"a smaller {name}" for name, use in (("factor", each > 1), (option("ipc"), count > 1)) if use]
    ways = smaller if remedy is None else [remedy, *smaller]
    return f"{need}: {' or '.join(ways)} would do" if ways else need


def cleaned(dataset: Dataset, found: Mapping[str, Tensor]) -> Dataset:
    """The dataset with what was found of its rows: `rows` that stay, `labels` of `relabelled_rows`."""
    if LABELS in found:
        dataset = replace(dataset, train=relabelled(dataset.train, found[LABELLED], found[LABELS]))
    if ROWS in found:
        dataset = restrict(dataset, torch.isin(dataset.train.rows, found[ROWS]).nonzero().flatten())
    return dataset


def weights_of(dataset: Dataset, found: Mapping[str, Tensor]) -> Tensor | None:
    """The weights `(N,)` of the training instances, None where nothing weighs them."""
    if WEIGHTS not in found:
        return None
    return by_row(dataset.train.rows, found[WEIGHTED], found[WEIGHTS])


def relabelled(split: Split, rows: Tensor, labels: Tensor) -> Split:
    """The split with `labels (M,)` for its stored `rows (M,)`. Its truth stays what it was: the former labels are none."""
    after = split.labels.clone()
    chosen = torch.isin(split.rows, rows)
    after[chosen] = by_row(split.rows[chosen], rows, labels)
    return replace(split, labels=after)


def by_row(rows: Tensor, table: Tensor, values: Tensor) -> Tensor:
    """For each of `rows (N,)` its value in `values (M,)`, which are those of the rows `table (M,)`; it has them all."""
    order = table.argsort()
    return values[order[torch.searchsorted(table[order], rows)]]
