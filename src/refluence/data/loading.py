"""`load`: from the text after `--data`, or data in Python, to a `Dataset`. Cheap checks come first, decoding last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refluence.data import elsewhere, exact, labels, noise, pixels, relabel, score_file, shift, sources, text, tokens
from refluence.data.dataset import Dataset, Split
from refluence.data.objects import Single, Source
from refluence.data.origin import origin
from refluence.data.partition import Partition, RowSet, partition
from refluence.data.pixels import Pixels
from refluence.data.scale import one_scale
from refluence.data.stored import RawSplit
from refluence.errors import InputError, option
from refluence.options import SourceOptions
from refluence.text import MINILM

LISTED = 10  # corrupt images that a note lists by name


def load(
    source: Source,
    options: SourceOptions | None = None,
    *,
    test: Single | Dataset | None = None,
    validation: Source | None = None,
    per_class: int = 1,
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """Read a data source: find it, resolve its labels, cut the splits, decode (or take from the cache), normalise.

    Args:
        source: `digits`, a folder with `train.parquet`, `FOLDER:TASK`, an image folder, a Hugging Face Hub id, or the folder
            of a finished run, whose train split is its distilled set. Or an object: `(images, labels)`, arrays or tensors of
            `(N, C, H, W)`, `(N, H, W, C)` or `(N, H, W)`, uint8 or floats, which are kept as they come; a map-style torch
            `Dataset` or a list of (image, label), images as PIL, tensors or arrays; a `datasets.Dataset`; a `DatasetDict` or
            dict of such splits; a `DistilledSet`. An object is recorded by kind and digest, as `arrays:1a2b3c4d5e6f`.
        options: the data flags (default: `SourceOptions()`).
        test: the test split of an object; without one, 20 % are cut from train, stratified. Of a distilled set: the dataset
            whose validation and test images are its own.
        validation: another source or object that is the validation split, as `options.validation`: all its labelled rows, its
            classes matched by name.
        per_class: images per class that will be distilled; a class with fewer training images after the validation cut
            is small, and `options.small_classes` says what happens to it.
        say: called with the first of the notes before any image is read, which may take long or fail.

    Returns:
        A `Dataset` whose `train`, `val` and `test` share no row, and whose `notes` say what was found (how many
        images in which classes, from which splits, what was passed over), cut, left out, relabelled or found twice. The same
        arguments give the same splits on every machine.

    Raises:
        InputError: with one line that says what is wrong, where, and what would be right.

    Example:
        >>> import numpy
        >>> images, labels = numpy.random.rand(60, 8, 8, 3), numpy.arange(60) % 3
        >>> data = load((images, labels), validation=(images[:9], labels[:9]))
        >>> len(data.train), len(data.val), len(data.test), data.shape
        (48, 9, 12, (3, 8, 8))
    """
    options = options or SourceOptions()
    if isinstance(validation, (str, Path)):
        options, validation = replace(options, validation=str(validation)), None
    wrong, moved = noise.read(options), shift.read(options)
    found = sources.find(source, options, test, validation)
    train, held = found.train, found.held
    if len(train) == 0:
        raise InputError(f"{train.where} has no rows")
    noise.refuse_soft(train, wrong)
    relabel.refuse_soft(train, options)
    tokens.check({"train": train, **held}, options)
    numbered = labels.resolve(train, found.own, options.labels)
    if found.elsewhere:
        indices, more = elsewhere.matched(held["val"], numbered.classes, train, found.elsewhere)
        numbered = replace(numbered, held={**numbered.held, "val": indices}, notes=(*numbered.notes, *more))
    line = found.line(numbered.classes)
    if say is not None:
        say(line)
    planned = partition(train, held, numbered, options, per_class)
    score_file.refuse_other_data(found.name, options)
    words = None
    if train.texts is not None:
        decoded, words = tokens.read({"train": train, **held}, _used(planned, held), options)
    else:
        decoded = _decoded({"train": train, **held}, options, found.elsewhere)
    if found.moments is None and words is None:  # the pixels of a distilled set are learned, on the scale of its own data
        names = {name: split.where for name, split in {"train": train, **held}.items()}
        one_scale({name: part.images for name, part in decoded.items()}, names)
    if any(part.corrupt for part in decoded.values()):
        skipped = {name: np.array(sorted(part.corrupt), np.int64) for name, part in decoded.items()}
        planned = partition(train, held, numbered, options, per_class, skipped)
    if moved:
        decoded["train"] = shift.applied(decoded["train"], planned.shifted, moved, train.where)
    mean, std = found.moments or (text.UNIT if words else decoded["train"].moments(planned.images))
    # a split that is not stored is one of train's rows
    parts = {"train": planned.train, "val": planned.val, "test": planned.test}
    source_of = {name: name if name in held else "train" for name in parts}
    stored = {"train": train, **held}
    every = {**{name: part.rows for name, part in parts.items()}, "train": planned.images}
    ready = {
        name: _split(part, decoded[source_of[name]], stored[source_of[name]], planned.classes) for name, part in parts.items()
    }
    dataset = Dataset(
        source=found.name,
        classes=planned.classes,
        train=ready["train"],
        val=ready["val"],
        test=ready["test"],
        mean=mean,
        std=std,
        notes=(
            line,
            *found.notes,
            *numbered.notes,
            *planned.notes,
            *(note for part in decoded.values() for note in part.notes),
            *(note for name, part in decoded.items() for note in _corrupt(stored[name], part)),
            *_duplicates({name: decoded[source_of[name]].digests_of(rows) for name, rows in every.items()}, train.what),
        ),
        validation=found.validation,
        options=replace(options, rows=planned.rows),
        unlabelled=_unlabelled(planned, decoded["train"], train),
    )
    if words is not None:
        own = {each.name: getattr(dataset, each.name) for each in fields(dataset)}
        dataset = text.TextDataset(**own, words=words, tokenizer=options.tokenizer or MINILM)
    return replace(dataset, origin=origin(dataset, isinstance(source, (str, Path)) and validation is None, per_class))


def _used(planned: Partition, held: Mapping[str, RawSplit]) -> dict[str, np.ndarray]:
    """The rows of each stored split that are in one that is made here, ascending."""
    rows = {"train": planned.images, "val": planned.val.rows, "test": planned.test.rows}
    ours = np.sort(np.concatenate([each for name, each in rows.items() if name not in held]))
    return {"train": ours, **{name: rows[name] for name in held}}


def _decoded(stored: dict[str, RawSplit], options: SourceOptions, elsewhere: str | None) -> dict[str, Pixels]:
    """The pixels of the stored splits, of equal size and channels; train first."""
    found: dict[str, Pixels] = {}
    try:
        for name, split in stored.items():
            size = (*found["train"].images.shape[2:],) if found else None
            if split.pixels is not None:
                found[name] = exact.read(split.pixels, options.image_size, size)
            else:
                found[name] = pixels.read(split, options.image_size, options.skip_corrupt, size)
    except pixels.MixedSizesError:
        both = f"{stored['train'].where} and {option('validation', elsewhere)} hold"
        raise pixels.mixed_sizes(list(stored.values()), both if elsewhere else None) from None
    channels = {part.images.shape[1] for part in found.values()}
    if not channels <= {1, 3} and len(channels) > 1:
        listed = ", ".join(f"{part.images.shape[1]} in {name}" for name, part in found.items())
        raise InputError(f"images of {stored['train'].where} have different numbers of channels: {listed}")
    if len(channels) > 1:
        found = {name: part.coloured() for name, part in found.items()}
    return found


def _split(part: RowSet, decoded: Pixels, stored: RawSplit, classes: tuple[str, ...]) -> Split:
    soft = None
    if stored.soft is not None and stored.names is not None:
        soft = stored.soft[torch.from_numpy(part.rows)][:, [stored.names.index(name) for name in classes]]
        soft = soft if len(classes) == len(stored.names) else soft / soft.sum(1, keepdim=True)
    return Split(
        images=decoded.take(part.rows),
        labels=torch.from_numpy(part.labels),
        rows=torch.from_numpy(part.rows),
        paths=None if stored.paths is None else tuple(stored.paths[row] for row in part.rows),
        soft=soft,
        groups=None if stored.groups is None else _numbered([stored.groups[row] for row in part.rows]),
        stored=None if part.stored is None else torch.from_numpy(part.stored),
        shifted=None if part.shifted is None else torch.from_numpy(part.shifted),
        texts=None if stored.texts is None else tuple(tokens.readable(stored.texts[row]) for row in part.rows),
    )


def _unlabelled(planned: Partition, decoded: Pixels, stored: RawSplit) -> Split | None:
    """The training rows without labels; soft ones of the source are none of theirs."""
    if planned.unlabelled is None:
        return None
    return _split(planned.unlabelled, decoded, replace(stored, soft=None), planned.classes)


def _numbered(groups: Sequence[object]) -> Tensor:
    """Groups as numbers `(N,)` in the order of their first rows; a None is a group of its own."""
    numbers: dict[object, int] = {}
    keys = [("row", position) if group is None else ("group", group) for position, group in enumerate(groups)]
    return torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys], dtype=torch.int64)


def _corrupt(stored: RawSplit, decoded: Pixels) -> list[str]:
    """One line that counts and lists the images that were skipped."""
    if not decoded.corrupt:
        return []
    listed = "; ".join(f"{stored.describe(row)}: {why}" for row, why in list(decoded.corrupt.items())[:LISTED])
    more = "; …" if len(decoded.corrupt) > LISTED else ""
    return [f"{option('skip_corrupt')} skipped {len(decoded.corrupt)} of {len(stored)} images: {listed}{more}"]


def _duplicates(digests: dict[str, Tensor], what: str) -> list[str]:
    """One line with the images of one split whose exact pixels are in another too; nothing where there are none."""
    counts = {
        f"test {what} are also in train": int(torch.isin(digests["test"], digests["train"]).sum()),
        f"test {what} are also in validation": int(torch.isin(digests["test"], digests["val"]).sum()),
        f"validation {what} are also in train": int(torch.isin(digests["val"], digests["train"]).sum()),
    }
    found = [f"{count} {what}" for what, count in counts.items() if count]
    return [f"exact duplicates across splits: {', '.join(found)}"] if found else []
