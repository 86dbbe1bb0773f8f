"""`load`: from the text after `--data` to a `Dataset`. Cheap checks come first, decoding last."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from refluence.data import labels, pixels, sources
from refluence.data.dataset import Dataset, Split
from refluence.data.options import SourceOptions
from refluence.data.partition import Partition, RowSet, partition
from refluence.data.pixels import Pixels
from refluence.data.stored import RawSplit
from refluence.errors import InputError

LISTED = 10  # corrupt images that a note lists by name


def load(
    source: str,
    options: SourceOptions | None = None,
    *,
    per_class: int = 1,
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """Read a data source: find it, resolve its labels, cut the splits, decode (or take from the cache), normalise.

    Args:
        source: `digits`, a folder with `train.parquet`, `FOLDER:TASK`, an image folder, or a Hugging Face Hub id.
        options: the data flags (default: `SourceOptions()`).
        per_class: images per class that will be distilled; a class with fewer training images after the validation cut
            is small, and `options.small_classes` says what happens to it.
        say: called with the first of the notes before any image is read, which may take long or fail.

    Returns:
        A `Dataset` whose `train`, `val` and `test` share no row, and whose `notes` say what was found (how many
        images in which classes, from which splits, what was passed over), cut, left out, relabelled or found twice. The same
        arguments give the same splits on every machine.

    Raises:
        InputError: with one line that says what is wrong, where, and what would be right.
    """
    options = options or SourceOptions()
    found = sources.find(source, options)
    train, test = found.train, found.test
    if len(train) == 0:
        raise InputError(f"{train.where} has no rows")
    numbered = labels.resolve(train, test, options.labels)
    line = found.line(numbered.classes)
    if say is not None:
        say(line)
    planned = partition(train, test, numbered, options, per_class)
    ours, theirs = _decoded(train, test, options)
    if ours.corrupt or theirs.corrupt:
        skipped = [np.array(sorted(side.corrupt), np.int64) for side in (ours, theirs)]
        planned = partition(train, test, numbered, options, per_class, (skipped[0], skipped[1]))
    mean, std = ours.moments(planned.train.rows)
    return Dataset(
        source=source,
        classes=planned.classes,
        train=_split(planned.train, ours, train),
        val=_split(planned.val, ours, train),
        test=_split(planned.test, theirs, test or train),
        mean=mean,
        std=std,
        notes=(
            line,
            *found.notes,
            *numbered.notes,
            *planned.notes,
            *ours.notes,
            *(theirs.notes if test else ()),
            *_corrupt(train, ours),
            *(_corrupt(test, theirs) if test else ()),
            *_duplicates(planned, ours, theirs),
        ),
    )


def _decoded(train: RawSplit, test: RawSplit | None, options: SourceOptions) -> tuple[Pixels, Pixels]:
    """The pixels of both stored splits (the same ones twice where test is cut from train), with equal channels."""
    try:
        ours = pixels.read(train, options.image_size, options.skip_corrupt)
        if test is None:
            return ours, ours
        height, width = ours.images.shape[2:]
        theirs = pixels.read(test, options.image_size, options.skip_corrupt, (height, width))
    except pixels.MixedSizesError:
        raise pixels.mixed_sizes([stored for stored in (train, test) if stored]) from None
    if ours.images.shape[1] != theirs.images.shape[1]:
        ours, theirs = ours.coloured(), theirs.coloured()
    return ours, theirs


def _split(part: RowSet, decoded: Pixels, stored: RawSplit) -> Split:
    return Split(
        images=decoded.take(part.rows),
        labels=torch.from_numpy(part.labels),
        rows=torch.from_numpy(part.rows),
        paths=None if stored.paths is None else tuple(stored.paths[row] for row in part.rows),
    )


def _corrupt(stored: RawSplit, decoded: Pixels) -> list[str]:
    """One line that counts and lists the images that were skipped."""
    if not decoded.corrupt:
        return []
    listed = "; ".join(f"{stored.describe(row)}: {why}" for row, why in list(decoded.corrupt.items())[:LISTED])
    more = "; …" if len(decoded.corrupt) > LISTED else ""
    return [f"--skip-corrupt skipped {len(decoded.corrupt)} of {len(stored)} images: {listed}{more}"]


def _duplicates(planned: Partition, ours: Pixels, theirs: Pixels) -> list[str]:
    """One line with the images of one split whose exact pixels are in another too; nothing where there are none."""
    train, val = (ours.digests[ours.positions(part.rows)] for part in (planned.train, planned.val))
    test = theirs.digests[theirs.positions(planned.test.rows)]
    counts = {
        "test images are also in train": int(torch.isin(test, train).sum()),
        "test images are also in validation": int(torch.isin(test, val).sum()),
        "validation images are also in train": int(torch.isin(val, train).sum()),
    }
    found = [f"{count} {what}" for what, count in counts.items() if count]
    return [f"exact duplicates across splits: {', '.join(found)}"] if found else []
