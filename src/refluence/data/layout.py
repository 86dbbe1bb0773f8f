"""What a folder is: the one function that decides, only from names, before anything is read.

    tables        train.parquet, train-00000-of-00002.parquet, data/train-….parquet, train/0000.parquet; one table of any name
    saved         a folder of `save_to_disk`
    pictures      train/<class>/… with a test split beside it, or <class>/…
    one folder    which holds one of these: it is looked into (a zip that unpacks to pets/pets/, the one configuration of a
                  Hub set, the snapshot of a Hub cache)
    samples       tar files of webdataset; idx files of MNIST

Anything else is an `InputError` that says what the folder holds and, where it is known, which lines convert it.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from refluence.data import convert, flat, folder, idx, parquet, saved, shards, walk, webdataset
from refluence.data.stored import TEST_NAMES, TRAIN_NAMES, UNSPLIT, RawSplit, Splits, split_names
from refluence.errors import InputError, option
from refluence.options import SourceOptions

FORMS = (
    "digits, a folder with train.parquet, FOLDER:TASK (TASK-train.parquet), an image folder (train/<class>/… or "
    "<class>/… of jpg, png, webp, bmp, tif, …), a folder of save_to_disk, or a Hugging Face Hub id (owner/name)"
)
SEARCHED = 20_000  # files looked at before a folder is said to hold nothing of use


def look(path: Path, options: SourceOptions) -> Splits:
    """What each split of a folder is read by, and what was passed over to find it.

    Errors: `InputError` where the folder holds nothing that can be read, or several things of which one must be named.
    """
    place, passed = path, list[str]()
    try:
        while isinstance(found := _here(place, options), Path):
            passed += _beside(place)
            place = found
    except OSError as error:
        walk.refuse(error)
    steps = [str(place.relative_to(path))] if place != path else []
    inside = "/".join((*steps, *((found.inside,) if found.inside else ())))
    return replace(found, inside=inside or None, passed=(*passed, *found.passed))


def look_at_file(path: Path, options: SourceOptions) -> Splits:
    """The same for a single file: a Parquet table or a tar file of samples is a source without splits."""
    if path.suffix.lower() == ".parquet":
        return Splits({UNSPLIT: functools.partial(parquet.read, [path], options)})
    if path.suffix.lower() == ".tar" and webdataset.is_samples(path):
        return replace(found := webdataset.splits([path], options), readers={UNSPLIT: next(iter(found.readers.values()))})
    raise convert.file(path)


def _here(place: Path, options: SourceOptions) -> Splits | Path:
    """What the folder itself is, or the folder inside it that decides."""
    if saved.is_saved(place):
        return saved.splits(place, options)
    if (place / "snapshots").is_dir() and (place / "refs").is_dir():
        return _snapshot(place)
    if tables := parquet.files_by_task(place):
        return replace(parquet.splits(place, None, options), notes=_beside_tables(place, tables))
    if walk.has_pictures(place):
        if options.group_column is not None:
            raise InputError(f"{option('group_column', options.group_column)}: {place} is an image folder, it has no columns")
        return _pictures(place)
    return _tables(place, options) or _other(place, options)


def _tables(place: Path, options: SourceOptions) -> Splits | Path | None:
    """Tables that lie deeper, or whose names spell no split."""
    inner = walk.listing(place)[0]
    sets = [path for path in inner if parquet.files_by_task(path) or saved.is_saved(path) or parquet.unnamed(path)]
    if len(sets) > 1:
        names = ", ".join(path.name for path in sets)
        raise InputError(f"{place} holds several sets ({names}): name one, for example {option('data', sets[0])}")
    if sets:
        return sets[0]
    tables = parquet.unnamed(place)
    if tables and not shards.belong_together(tables):
        names = ", ".join(path.name for path in tables[:5])
        raise InputError(
            f"{place} holds several tables whose names spell no split ({names}): name one "
            f"({option('data', tables[0])}), or call them "
            "train.parquet and test.parquet (parts of one split: train-00000-of-00002.parquet, …)"
        )
    if not tables:
        return None
    more = f" and {len(tables) - 1} more" if len(tables) > 1 else ""
    return Splits({UNSPLIT: functools.partial(parquet.read, tables, options)}, inside=f"{tables[0].name}{more}")


def _beside_tables(place: Path, tables: dict[str | None, dict[str, list[Path]]]) -> tuple[str, ...]:
    """A note on each kind of thing in the folders beside the tables that is not read."""
    notes = []
    read = {path.parent for files in tables.get(None, {}).values() for path in files}
    if others := [name for name in parquet.split_folders(place) if place / name not in read]:
        notes.append(
            f"the tables in its folders {', '.join(others)} are not read: there are tables of splits beside these folders"
        )
    if held := [path.name for path in walk.with_pictures(place)]:
        notes.append(f"images in its folders ({', '.join(held)}) are read only where a table names their paths")
    return tuple(notes)


def _pictures(place: Path) -> Splits | Path:
    """Split folders, class folders, or the one folder that holds them."""
    inner = walk.listing(place)[0]
    trains, tests = split_names([path.name for path in inner], str(place))
    unknown = (path for path in inner if path.name not in (*trains, *tests) and walk.has_pictures(path))
    for rank, name in enumerate(trains):
        if any(walk.with_pictures(place / name)):
            more = [*trains[rank + 1 :], *tests]
            return _split(place, name, more, [path for path in inner if path.name not in (name, *more)])
    first, second = (*islice(unknown, 2), None, None)[:2]
    if first is None and (trains or tests):
        if trains:
            raise flat.refuse(place / trains[0], trains[0])
        raise InputError(
            f"{place} holds {', '.join(tests)} and no train split: expected {place}/train/<class>/<image>; {option('data')} "
            f"{place / tests[0]} reads that folder alone"
        )
    if first is None:
        raise flat.refuse(place, UNSPLIT)
    if second is None and not (trains or tests) and any(walk.with_pictures(first)):
        return first
    _refuse_names_like_splits(place, inner)
    both = [[name for name in names if walk.has_pictures(place / name)] for names in (trains, tests)]
    if all(both):
        raise flat.refuse(place / both[0][0], both[0][0])
    named = ", ".join(both[0] + both[1])
    notes = (
        (f"folders that are called like splits are classes here, since they hold no class folders: {named}",) if named else ()
    )
    return Splits({UNSPLIT: functools.partial(folder.read, place, UNSPLIT, True)}, notes=notes)


def _split(place: Path, train: str, more: list[str], others: list[Path]) -> Splits:
    readers: dict[str, Callable[[], RawSplit]] = {
        name: functools.partial(folder.read, _unwrapped(place / name), name, name == train) for name in (train, *more)
    }
    counts = {path.name: sum(map(walk.is_picture, walk.files(path))) for path in others}
    held = [name for name, count in counts.items() if count]
    beside = (f"{sum(counts.values())} images in folders that are no splits ({', '.join(held)})",) if held else ()
    return Splits(readers, passed=(*_beside(place), *beside))


def _unwrapped(split: Path) -> Path:
    """The folder inside a split folder (train/train/<class>, train/images/<class>), where it is all that holds pictures."""
    held = list(islice(walk.with_pictures(split), 2))
    if len(held) != 1:
        return split
    within = held[0].name.lower() == split.name.lower() or len(list(islice(walk.with_pictures(held[0]), 2))) == 2
    return held[0] if within else split


def _refuse_names_like_splits(place: Path, inner: list[Path]) -> None:
    """`InputError` where two class folders are called alike but for the word of a split (seg_train and seg_test)."""
    found: dict[tuple[str, str], Path] = {}
    for path in inner:
        words = re.findall(r"[A-Za-z][a-z]*|\d+", path.name)
        rest = " ".join(word.lower() for word in words if word.lower() not in (*TRAIN_NAMES, *TEST_NAMES))
        for split, names in (("train", TRAIN_NAMES), ("test", TEST_NAMES)):
            if any(word.lower() in names for word in words):
                found[rest, split] = path
    for rest, split in found:
        if not rest or split != "test" or (rest, "train") not in found:
            continue
        train, test = found[rest, "train"], found[rest, "test"]
        if not any(walk.with_pictures(train)):
            raise flat.refuse(train, train.name)
        raise InputError(
            f"{place} holds {train.name} and {test.name}, which are called like splits: rename them to train and test, or give "
            f"{option('data', train)} for that one alone"
        )


def _beside(place: Path) -> tuple[str, ...]:
    """What lies straight in a folder beside the folders that are read, counted."""
    passed: Counter[str] = Counter()
    _, loose = walk.listing(place, passed)
    passed.update("image{s} in no class folder" if walk.is_picture(path) else walk.kind(path) for path in loose)
    return walk.counted(passed)


def _snapshot(place: Path) -> Path:
    """The folder of the Hub's cache that holds the files of `main`, or of the only version."""
    versions = sorted(path for path in (place / "snapshots").iterdir() if path.is_dir())
    main = place / "refs" / "main"
    wanted = main.read_text().strip() if main.is_file() else None
    found = [path for path in versions if path.name == wanted] or versions
    if len(found) != 1:
        names = ", ".join(map(str, versions)) or "none"
        raise InputError(
            f"{place} is a cache of the Hub, with several versions or none: give {option('data')} and one of them ({names})"
        )
    return found[0]


def _other(place: Path, options: SourceOptions) -> Splits:
    """Neither tables nor pictures: files that other libraries read, or the message that says what is there."""
    files = list(islice(walk.files(place), SEARCHED))
    if images := [path for path in files if idx.is_images(path)]:
        return idx.splits(images, options)
    samples = [path for path in files if path.suffix.lower() == ".tar"]
    if samples and webdataset.is_samples(samples[0]):
        return webdataset.splits(samples, options)
    last = sorted(files, key=lambda path: path.suffix.lower() in (".csv", ".tsv"))  # a table may belong to the others
    if known := next((path for path in last if convert.is_known(path)), None):
        raise convert.file(known)
    held = ", ".join(walk.counted(Counter(map(walk.kind, files)))) or ", ".join(
        path.name for path in walk.listing(place)[0][:8]
    )
    raise InputError(
        f"{option('data', place)} holds no train.parquet and no images (it holds {held or 'nothing'}); expected {FORMS}"
    )
