"""Which stored row goes where: test, validation and train, so many rows, small classes, what scores drop or relabel.

Reads no pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from refluence.data import imbalance, labelled, noise, shift, splits
from refluence.data.drop import dropped
from refluence.data.labels import Labels
from refluence.data.relabel import relabelled
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option
from refluence.options import SourceOptions

TEST_FRACTION = 0.2


@dataclass(frozen=True)
class RowSet:
    """One split that is made here: stored row numbers `(N,)`, ascending, and class indices `(N,)`.

    `stored (N,)` are the indices by the labels of the source, where the others are not those. `shifted (N,)` bool: whose images
    are to come from another domain.
    """

    rows: np.ndarray
    labels: np.ndarray
    stored: np.ndarray | None = None
    shifted: np.ndarray | None = None

    @property
    def own(self) -> np.ndarray:
        """The class indices by the labels of the source, -1 where a class is not here."""
        return self.labels if self.stored is None else self.stored

    def where(self, mask: np.ndarray) -> RowSet:
        """The rows that a mask `(N,)` keeps."""
        stored, shifted = (None if each is None else each[mask] for each in (self.stored, self.shifted))
        return RowSet(self.rows[mask], self.labels[mask], stored, shifted)


@dataclass(frozen=True)
class Partition:
    """The three splits, the classes they are numbered by, and what a reader has to know.

    `unlabelled` are the training rows whose labels (-1) are not to be known, where there are such. `rows`: how many training
    rows were asked for; None where there are no more than that, so that nothing is left out.
    """

    classes: tuple[str, ...]
    train: RowSet
    val: RowSet
    test: RowSet
    notes: tuple[str, ...]
    unlabelled: RowSet | None = None
    rows: int | None = None

    @property
    def images(self) -> np.ndarray:
        """The stored row numbers `(N,)`, ascending, of all training images, with and without labels."""
        rows = self.train.rows
        return rows if self.unlabelled is None else np.sort(np.concatenate([rows, self.unlabelled.rows]))

    @property
    def shifted(self) -> np.ndarray:
        """The stored row numbers, ascending, of training images that are to come from another domain."""
        parts = [part for part in (self.train, self.unlabelled) if part is not None and part.shifted is not None]
        return np.sort(np.concatenate([part.rows[part.shifted] for part in parts])) if parts else np.array([], np.int64)


def partition(
    train: RawSplit,
    held: Mapping[str, RawSplit],
    labels: Labels,
    options: SourceOptions,
    per_class: int,
    skipped: Mapping[str, np.ndarray] | None = None,
) -> Partition:
    """Cut the splits that are not `held` ("val", "test"). `skipped` holds the rows that cannot be decoded, by stored split."""
    notes: list[str] = []
    skipped = skipped or {}
    ours = _part(labels.train, skipped.get("train"), labels.stored if labels.beside else None)
    beside = {name: _part(labels.held[name], skipped.get(name)) for name in held}
    if "val" in held and "test" in held:
        beside["val"] = _without_groups(held, "val", beside["val"], beside["test"], "test", notes)
    for name, part in beside.items():
        ours = _without_groups({"train": train, **held}, "train", ours, part, name, notes)
    if "test" not in held:
        stored = _part(labels.stored, skipped.get("train"))
        mask = splits.cut(stored.labels, stored.rows, TEST_FRACTION, "test", _groups(train, stored))
        ours, theirs = ours.where(~mask), stored.where(mask)
        kept = ", with the labels of the source" if options.labels else ""
        notes.append(
            f"no test split in {train.where}: {len(theirs.rows)} {train.what} (20 %, stratified) were cut from train{kept}"
        )
    else:
        theirs = beside["test"]
    if options.imbalance is not None:
        mask = imbalance.long_tailed(ours.own, ours.rows, options.imbalance)
        notes.append(imbalance.note(ours.own, mask, options.imbalance, "val" in held))
        ours = ours.where(mask)
    cut = options.rows if options.rows is not None and options.rows < len(ours.rows) else None
    if cut is not None:
        some = ours.where(splits.first(ours.own, ours.rows, cut))
        notes.append(_rows_note(cut, len(some.rows), len(ours.rows), "val" in held, train.what))
        ours = some
    before = ours.labels
    if wrong := noise.read(options):
        ours = replace(ours, labels=noise.noisy(before, ours.rows, labels.classes, wrong), stored=before)
        notes.append(noise.note(before, ours.labels, str(options.noise), "val" in held))
    if "val" not in held:
        mask = splits.cut(before, ours.rows, options.val_fraction, "val", _groups(train, ours))
        ours, val = ours.where(~mask), ours.where(mask)
    else:
        val = beside["val"]
    if moved := shift.read(options):
        mask = splits.share(ours.own, ours.rows, moved.share, "shift")
        ours = replace(ours, shifted=mask)
        notes.append(shift.note(mask, str(options.shift)))
    if options.drop:
        mask, note = dropped(options.drop, ours.rows, train)
        ours = ours.where(~mask)
        notes.append(note)
    if options.relabel:
        after, note = relabelled(options, ours.rows, ours.labels, labels.classes, train)
        ours = replace(ours, labels=after)
        notes.append(note)
    rest = None
    if options.labelled is not None:
        mask = labelled.known(ours.own, ours.rows, options.labelled)
        notes.append(labelled.note(options.labelled, len(mask)))
        ours, rest = ours.where(mask), None if mask.all() else ours.where(~mask)
    stay = _kept_classes(ours, labels.classes, options.small_classes, per_class, train.where, notes)
    ours, val, theirs = (_renumbered(part, stay) for part in (ours, val, theirs))
    classes = tuple(labels.classes[k] for k in stay)
    rest = None if rest is None else _without_labels(_renumbered(rest, stay))
    for word, name, side in (("test", "test", theirs), ("validation", "val", val)):
        absent = [classes[k] for k in range(len(classes)) if not (side.labels == k).any()]
        if len(absent) == len(classes) and name in held:
            raise InputError(
                f"{held[name].where} has no image left of the classes {', '.join(classes[:10])} for a {word} split"
            )
        if len(absent) == len(classes):
            raise InputError(
                f"{train.where} is too small to cut a {word} split: a class needs at least 3 images (2 where a test "
                "split is stored)"
            )
        if absent:
            notes.append(f"no {word} {train.what[:-1]} of {len(absent)} classes: {', '.join(absent[:10])}")
    return Partition(classes, ours, val, theirs, tuple(notes), rest, cut)


def _rows_note(asked: int, kept: int, there: int, own_val: bool, what: str) -> str:
    """One line: how many training rows are left, of how many."""
    cut = "" if own_val else ", validation is cut from them"
    return f"{option('rows', asked)}: {kept} of {there} training {what} are kept, class by class in proportion{cut}"


def _part(labels: np.ndarray, skipped: np.ndarray | None, stored: np.ndarray | None = None) -> RowSet:
    rows = np.arange(len(labels))
    rows = rows if skipped is None else np.setdiff1d(rows, skipped, assume_unique=True)
    return RowSet(rows, labels[rows], None if stored is None else stored[rows])


def _groups(stored: RawSplit, part: RowSet) -> list[object] | None:
    return None if stored.groups is None else [stored.groups[row] for row in part.rows]


def _without_groups(
    stored: Mapping[str, RawSplit], name: str, ours: RowSet, theirs: RowSet, other: str, notes: list[str]
) -> RowSet:
    """Rows of a split whose group also is in another stored split are left out: a group must not be on both sides."""
    groups, others = stored[name].groups, stored[other].groups
    if groups is None or others is None:
        return ours
    seen = {others[row] for row in theirs.rows} - {None}
    both = np.array([groups[row] in seen for row in ours.rows], bool)
    use, kind = ("to train on", "training") if name == "train" else ("to validate on", "validation")
    if both.all():
        raise InputError(f"every group of {stored[name].where} is in {stored[other].where} too: nothing is left {use}")
    if both.any():
        where = {"val": "validation", "test": "test"}[other]
        notes.append(f"{both.sum()} {kind} images are left out: their group is in the {where} split too")
    return ours.where(~both)


def _kept_classes(
    part: RowSet, classes: tuple[str, ...], policy: str, per_class: int, where: str, notes: list[str]
) -> np.ndarray:
    """Indices of the classes that stay. A class is small with fewer than `per_class` training images."""
    counts = np.bincount(part.labels, minlength=len(classes))
    small = np.flatnonzero(counts < max(per_class, 1))
    if not len(small):
        return np.arange(len(classes))
    named = ", ".join(f"'{classes[k]}' ({counts[k]})" for k in small[:10]) + (", …" if len(small) > 10 else "")
    need = f"{per_class} {'is' if per_class == 1 else 'are'} asked for"
    empty = [classes[k] for k in small if counts[k] == 0]
    if policy == "refuse":
        raise InputError(
            f"{where}: too few training images after the validation cut in {named}; {need}. Use "
            f"{option('small_classes', 'cap')} "
            f"(fewer images of such a class) or drop (leave it out), or a smaller {option('ipc')}"
        )
    if policy == "cap":
        if empty:
            raise InputError(
                f"{where}: no training image at all of {', '.join(map(repr, empty[:10]))}: "
                f"{option('small_classes', 'cap')} cannot "
                f"help, use {option('small_classes', 'drop')}"
            )
        notes.append(f"{option('small_classes', 'cap')}: fewer training images than {per_class} in {named}")
        return np.arange(len(classes))
    kept = np.flatnonzero(counts >= max(per_class, 1))
    if len(kept) < 2:
        raise InputError(
            f"{where}: {option('small_classes', 'drop')} leaves {len(kept)} classes; at least 2 are needed ({need})"
        )
    notes.append(f"{option('small_classes', 'drop')}: left out, with their validation and test images: {named}; {need}")
    return kept


def _renumbered(part: RowSet, kept: np.ndarray) -> RowSet:
    part = part.where(np.isin(part.labels, kept))
    stored = part.stored
    if stored is not None:
        stored = np.where(np.isin(stored, kept), np.searchsorted(kept, stored), -1)
    return replace(part, labels=np.searchsorted(kept, part.labels), stored=stored)


def _without_labels(part: RowSet) -> RowSet | None:
    """The same rows with labels -1; those of the source stand beside them. None where there are no rows."""
    return replace(part, labels=np.full(len(part.rows), -1), stored=part.own) if len(part.rows) else None
