"""A folder of `Dataset.save_to_disk` or `DatasetDict.save_to_disk`, read by `datasets.load_from_disk`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from refluence.data.stored import UNSPLIT, RawSplit, Splits
from refluence.errors import InputError
from refluence.options import SourceOptions


def is_saved(folder: Path) -> bool:
    """Whether `datasets` saved the folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def splits(folder: Path, options: SourceOptions) -> Splits:
    """What each split of a saved folder is read by. `InputError` where `datasets` cannot read it."""
    import datasets

    from refluence.data import hub

    try:
        loaded = datasets.load_from_disk(folder)
    except Exception as error:  # whatever a file that is missing or half-written leads to
        raise InputError(
            f"{folder} looks saved by save_to_disk, and cannot be loaded: {' '.join(str(error).split())}"
        ) from error
    if isinstance(loaded, datasets.Dataset):
        found = Splits({UNSPLIT: functools.partial(hub.read, loaded, str(folder), options)})
    else:
        found = hub.readers(loaded, str(folder), str(folder), options)
    return replace(found, readers={name: functools.partial(_read, reader, folder) for name, reader in found.readers.items()})


def _read(reader: Callable[[], RawSplit], folder: Path) -> RawSplit:
    """The split, known again by its Arrow files too: a folder that is saved anew may keep its fingerprint."""
    stored = reader()
    return replace(stored, files=[*stored.files, *sorted(folder.rglob("*.arrow"))])
