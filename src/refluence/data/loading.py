"""`load`: from the text after `--data` to a `Dataset`. Cheap checks come first, decoding last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from refluence.data import elsewhere, labels, pixels, sources
from refluence.data.dataset import Dataset, Split
from refluence.data.options import SourceOptions
from refluence.data.partition import RowSet, partition
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
    train, held = found.train, found.held
    if len(train) == 0:
        raise InputError(f"{train.where} has no rows")
    numbered = labels.resolve(train, found.own, options.labels)
    if found.elsewhere:
        indices, more = elsewhere.matched(held["val"], numbered.classes, train, found.elsewhere)
        numbered = replace(numbered, held={**numbered.held, "val": indices}, notes=(*numbered.notes, *more))
    line = found.line(numbered.classes)
    if say is not None:
        say(line)
    planned = partition(train, held, numbered, options, per_class)
    decoded = _decoded({"train": train, **held}, options, found.elsewhere)
    if any(part.corrupt for part in decoded.values()):
        skipped = {name: np.array(sorted(part.corrupt), np.int64) for name, part in decoded.items()}
        planned = partition(train, held, numbered, options, per_class, skipped)
    mean, std = decoded["train"].moments(planned.train.rows)
    # a split that is not stored is one of train's rows
    parts = {"train": planned.train, "val": planned.val, "test": planned.test}
    source_of = {name: name if name in held else "train" for name in parts}
    stored = {"train": train, **held}
    ready = {name: _split(part, decoded[source_of[name]], stored[source_of[name]]) for name, part in parts.items()}
    return Dataset(
        source=source,
        classes=planned.classes,
        **ready,
        mean=mean,
        std=std,
        notes=(
            line,
            *found.notes,
            *numbered.notes,
            *planned.notes,
            *(note for part in decoded.values() for note in part.notes),
            *(note for name, part in decoded.items() for note in _corrupt(stored[name], part)),
            *_duplicates({name: decoded[source_of[name]].digests_of(part.rows) for name, part in parts.items()}),
        ),
        validation=found.validation,
    )


def _decoded(stored: dict[str, RawSplit], options: SourceOptions, elsewhere: str | None) -> dict[str, Pixels]:
    """The pixels of the stored splits, of equal size and channels; train first."""
    found: dict[str, Pixels] = {}
    try:
        for name, split in stored.items():
            size = (*found["train"].images.shape[2:],) if found else None
            found[name] = pixels.read(split, options.image_size, options.skip_corrupt, size)
    except pixels.MixedSizesError:
        both = f"{stored['train'].where} and --validation {elsewhere} hold"
        raise pixels.mixed_sizes(list(stored.values()), both if elsewhere else None) from None
    if len({part.images.shape[1] for part in found.values()}) > 1:
        found = {name: part.coloured() for name, part in found.items()}
    return found


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


def _duplicates(digests: dict[str, Tensor]) -> list[str]:
    """One line with the images of one split whose exact pixels are in another too; nothing where there are none."""
    counts = {
        "test images are also in train": int(torch.isin(digests["test"], digests["train"]).sum()),
        "test images are also in validation": int(torch.isin(digests["test"], digests["val"]).sum()),
        "validation images are also in train": int(torch.isin(digests["val"], digests["train"]).sum()),
    }
    found = [f"{count} {what}" for what, count in counts.items() if count]
    return [f"exact duplicates across splits: {', '.join(found)}"] if found else []
