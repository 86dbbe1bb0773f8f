"""A distilled set as a source, from a folder or from memory: it is the training split; validation and test are real images."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from refluence.data.dataset import Dataset, Split
from refluence.data.distilled import DistilledSet, decoded, load_distilled
from refluence.data.objects import DIGEST
from refluence.data.options import refuse_columns
from refluence.data.readme import CARD
from refluence.data.stored import RawSplit, Splits
from refluence.errors import InputError, again
from refluence.files import read_json
from refluence.options import SourceOptions

CONFIG = "config.json"


def splits(folder: Path, options: SourceOptions) -> Splits:
    """What each split is read by. The set is decoded, as pixels on the scale of `mean` and `std`, which are those of the run.

    Errors: `InputError` for a comparison, a run that is not finished, and one whose own data cannot be read again.
    """
    refuse_columns(options, f"{folder} is the folder of a run, its set has no columns")
    config = read_json(folder / CONFIG)
    if not (folder / "distilled" / CARD).is_file():
        raise _no_set(folder, config)
    small = load_distilled(folder / "distilled")
    return replace(_together(f"{folder}/distilled", small, _real(folder, config, options)), inside="distilled")


def of_set(small: DistilledSet, real: Dataset | None) -> tuple[str, Splits]:
    """A name with the digest of the set, and what each split is read by: validation and test are those of `real`.

    Errors: `InputError` without `real`, and for other images than its own.
    """
    if real is None:
        raise InputError(
            "a distilled set alone has no validation and test images: the folder of its run says where they are; in Python, "
            "rf.load(…, test=data) takes those of a dataset"
        )
    if real.shape != tuple(small.images.shape[1:]) or not set(small.classes) <= set(real.classes):
        raise InputError(
            f"the set has other images or classes than {real.source}, whose validation and test images it is given"
        )
    whole = hashlib.sha256(real.source.encode())
    for part in (small.images, small.labels, *(() if small.soft is None else (small.soft,))):
        whole.update(part.contiguous().numpy().tobytes())
    return f"set:{whole.hexdigest()[:12]}", _together("the set", small, real)


def _together(where: str, small: DistilledSet, real: Dataset) -> Splits:
    """The set, decoded, to train on, and the held-out images of `real`."""
    small = decoded(small)
    train = _stored(where, small)
    held = {
        name: _held(f"{name} of {real.source}", split, real, small) for name, split in (("val", real.val), ("test", real.test))
    }
    readers: dict[str, Callable[[], RawSplit]] = {
        name: functools.partial(_same, split) for name, split in {"train": train, **held}.items()
    }
    notes = [f"train is the set of the run; validation ({real.validation}) and test are those of {real.source}"]
    if small.soft is not None:
        notes.append("networks that train on it use its hard labels; the soft ones are kept, and a selection keeps them too")
    return Splits(readers, notes=tuple(notes), moments=(small.mean, small.std))


def _same(split: RawSplit) -> RawSplit:
    return split


def _no_set(folder: Path, config: object) -> InputError:
    command = config.get("command") if isinstance(config, dict) else None
    if command == "compare":
        return InputError(f"{folder} holds a comparison: name one of its units, {folder}/units/ARM/SEED")
    if command == "run":
        return InputError(f"{folder} holds a recipe: name one of its units, {folder}/PART/units/ARM/SEED")
    return InputError(f"the run in {folder} is not finished: {again()} ends it")


def _real(folder: Path, config: Any, options: SourceOptions) -> Dataset:
    """The data that the run was made from, read as the run read it."""
    from refluence.data.loading import load  # which reads this source too

    try:
        data = config["resolved"]["data"]
        source, asked = str(data["source"]), dict(data["options"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{folder / CONFIG} does not say which data the run was made from: make the run again") from None
    if DIGEST.fullmatch(source):
        what = f"data that was given in Python ({source})"
    elif "content" in data:
        what = f"data that was changed in Python after it was loaded ({source})"
    elif "validation" in data and options.validation is None:
        what = f"a validation set that was given in Python ({data['validation']})"
    else:
        what = ""
    if what:
        raise InputError(
            f"the run in {folder} was made from {what}, so its validation and test splits cannot be read again: "
            f"rf.load('{folder}', test=data) takes those of a dataset `data`"
        )
    known = {field.name for field in fields(SourceOptions)}
    own = SourceOptions(**{name: value for name, value in asked.items() if name in known})
    # rows of train that were left out, relabelled or shifted, and where validation is asked for elsewhere, are no matter here
    validation = None if options.validation else own.validation
    own = replace(own, drop=None, relabel=None, shift=None, small_classes="drop", validation=validation)
    try:
        return load(source, own)
    except InputError as error:
        raise InputError(f"{folder} was made from {source}, which is read again: {error}", error.lines) from error


def _stored(where: str, small: DistilledSet) -> RawSplit:
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (small.mean, small.std))
    pixels = small.images.float() * std + mean
    labels = small.labels.tolist()
    return RawSplit(where, labels, functools.partial(iter, ()), names=small.classes, pixels=pixels, soft=small.soft)


def _held(where: str, split: Split, real: Dataset, small: DistilledSet) -> RawSplit:
    """A split of the run's data, of the classes that the set has."""
    kept = [position for position, label in enumerate(split.labels.tolist()) if real.classes[label] in small.classes]
    if len(kept) < len(split):
        split = split.take(torch.tensor(kept, dtype=torch.int64))
    labels = split.labels.tolist()
    return RawSplit(where, labels, functools.partial(iter, ()), names=real.classes, paths=split.paths, pixels=split.images)
