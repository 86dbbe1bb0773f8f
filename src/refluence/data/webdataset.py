"""Tar files of samples (`0001.png` beside `0001.cls`), read by the `webdataset` reader of `datasets`."""

from __future__ import annotations

import re
import tarfile
from collections import defaultdict
from itertools import islice
from pathlib import Path

from refluence.data import shards, walk
from refluence.data.stored import TEST_NAMES, TRAIN_NAMES, UNSPLIT, Splits
from refluence.errors import InputError
from refluence.options import SourceOptions

LOOKED_AT = 1000  # names of a tar file
PICKLES = (".pth", ".pt", ".pkl", ".pickle", ".pyd")
_NAMES = "|".join((*TRAIN_NAMES, *TEST_NAMES))
_FILE = re.compile(rf"(?:.*[-_.])?(?P<split>{_NAMES})(?:[-_.]?\d.*)?\.tar", re.IGNORECASE)


def is_samples(path: Path) -> bool:
    """Whether a tar file holds pictures with something else of the same name beside them."""
    try:
        with tarfile.open(path, "r:") as tar:
            names = [Path(member.name) for member in islice(tar, LOOKED_AT) if member.isfile()]
    except (tarfile.TarError, OSError):
        return False
    kinds = defaultdict(set)
    for name in names:
        kinds[name.with_suffix("")].add(name.suffix.lower())
    if loads := sorted({name.suffix.lower() for name in names} & set(PICKLES)):
        raise InputError(f"{path} holds {', '.join(loads)} files: these are pickles, which Refluence does not load")
    return any(len(found) > 1 and found & {*walk.SUFFIXES, *walk.OTHER_SUFFIXES} for found in kinds.values())


def splits(paths: list[Path], options: SourceOptions) -> Splits:
    """What each split of a folder of tar files is read by; files whose names spell no split are all one."""
    import datasets

    from refluence.data import hub

    found: dict[str, list[Path]] = {}
    for path in paths:
        match = _FILE.fullmatch(path.name)
        in_split = path.parent.name.lower() in (*TRAIN_NAMES, *TEST_NAMES)
        found.setdefault(match["split"] if match else path.parent.name if in_split else UNSPLIT, []).append(path)
    if UNSPLIT in found and (len(found) > 1 or not shards.belong_together(found[UNSPLIT])):
        listed = ", ".join(path.name for path in found[UNSPLIT][:3])
        raise InputError(
            f"the names of {listed} in {paths[0].parent} spell no split: expected train-00000.tar, test-00000.tar, …"
        )
    for files in found.values():
        shards.refuse_missing(files)
    try:
        loaded = datasets.load_dataset(
            "webdataset", data_files={name or "train": [str(path) for path in files] for name, files in found.items()}
        )
    except Exception as error:  # the reader's own errors say little of the file; its cause does
        cause = error.__cause__ or error
        raise InputError(f"{paths[0]} cannot be read as webdataset: {' '.join(str(cause).split())[:300]}") from error
    where = str(paths[0].parent)
    readers = hub.readers(loaded, where, where, options).readers
    return Splits({UNSPLIT: readers["train"]} if UNSPLIT in found else readers)
